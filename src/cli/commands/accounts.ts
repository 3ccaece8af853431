import { Command } from 'commander';
import { openDatabase } from '../../composition/open-database.ts';
import { loadConfig } from '../../config.ts';
import { copyAccounts } from '../../identity/copy-accounts.ts';
import { createLogger } from '../../logger.ts';
import { Releasers } from '../../releasers.ts';
import { withAction } from '../action.ts';
import type { Cli, Report } from '../action.ts';

interface CopyArguments {
  readonly from: string;
  readonly to: string;
}

const MANUAL = `
An address is a postgres:// URL, or 'embedded' for the database in DATA_DIR. Both databases need the schema of this build
('asyncly migrate'). Accounts that are there already stay as they are.`;

/** `asyncly accounts …` */
export function accountsCommand(cli: Cli): Command {
  const command = new Command('copy')
    .description('copy accounts, API keys, logins and webhook secrets from one database to another')
    .requiredOption('--from <address>', 'the database to read')
    .requiredOption('--to <address>', 'the database to write')
    .addHelpText('after', MANUAL);
  return new Command('accounts')
    .description('accounts, which are not in the event store')
    .addCommand(withAction<CopyArguments>(command, cli, (addresses) => copy(addresses, cli.signal)));
}

async function copy(addresses: CopyArguments, signal: AbortSignal): Promise<Report> {
  const dataDir = loadConfig().DATA_DIR;
  const logger = createLogger('warn', 'stderr');
  const releasers = new Releasers(logger);
  try {
    const from = await openDatabase(addresses.from, { dataDir, logger, use: 'reading' });
    releasers.push('source', () => from.close());
    const to = await openDatabase(addresses.to, { dataDir, logger, use: 'writing' });
    releasers.push('target', () => to.close());
    const tables = await copyAccounts(from.database, to.database, signal);
    return {
      data: { tables },
      text: tables.map(({ table, found, copied }) => `${table}: ${copied} of ${found} copied`).join('\n'),
    };
  } finally {
    await releasers.releaseAll();
  }
}
