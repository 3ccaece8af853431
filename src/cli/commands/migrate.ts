import { Command } from 'commander';
import { databaseAddress, openDatabase } from '../../composition/open-database.ts';
import { loadConfig } from '../../config.ts';
import { createLogger } from '../../logger.ts';
import { withAction } from '../action.ts';
import type { Cli } from '../action.ts';

/** `asyncly migrate` */
export function migrateCommand(cli: Cli): Command {
  const command = new Command('migrate').description(
    'bring the database (DATABASE_URL, or the embedded one) to the schema of this build',
  );
  return withAction(command, cli, async () => {
    const config = loadConfig();
    const logger = createLogger('info', 'stderr');
    const { close } = await openDatabase(databaseAddress(config), {
      dataDir: config.DATA_DIR,
      logger,
      use: 'writing',
    });
    await close();
    return { data: { migrated: true }, text: 'The database has the schema of this build.' };
  });
}
