import { Command } from 'commander';
import { openEventStore } from '../../composition/open-event-store.ts';
import { loadConfig } from '../../config.ts';
import { createLogger } from '../../logger.ts';
import { Releasers } from '../../releasers.ts';
import { copyEvents } from '../../transfer/copy-events.ts';
import type { CopyPhase } from '../../transfer/copy-events.ts';
import { withAction } from '../action.ts';
import type { Cli, Report } from '../action.ts';
import { createProgress } from '../progress.ts';

interface CopyArguments {
  readonly from: string;
  readonly to: string;
}

const MANUAL = `
An address is one of
  postgres://…    an event store of ours in that database
  embedded        the one in DATA_DIR; a service that uses it may be running
  esdb://…        EventStoreDB (esdb+discover://, kurrentdb:// and kurrentdb+discover:// as well)

Events keep their order, ids and revisions. The target has to be empty, or to hold what an earlier copy of the same
source brought there: interrupted at any point, the same command goes on where it stopped, and run again it brings what
has come since. At the end both stores are read from the beginning and compared.

The read models belong to the store they were made from: 'asyncly projections reset' has them made anew.`;

const DOING: Record<CopyPhase, string> = { compare: 'Comparing', copy: 'Copying', verify: 'Verifying' };

/** `asyncly events copy` */
export function eventsCopyCommand(cli: Cli): Command {
  const command = new Command('copy')
    .description('copy every event from one event store to another, and prove that it is there')
    .requiredOption('--from <address>', 'the store to read')
    .requiredOption('--to <address>', 'the store to write')
    .addHelpText('after', MANUAL);
  return withAction<CopyArguments>(command, cli, (addresses) => copy(addresses, cli.signal));
}

async function copy(addresses: CopyArguments, signal: AbortSignal): Promise<Report> {
  const dataDir = loadConfig().DATA_DIR;
  const logger = createLogger('warn', 'stderr');
  const releasers = new Releasers(logger);
  const began = performance.now();
  const progress = createProgress();
  try {
    const from = await openEventStore(addresses.from, { dataDir, logger, use: 'reading' });
    releasers.push('source', () => from.close());
    const to = await openEventStore(addresses.to, { dataDir, logger, use: 'writing' });
    releasers.push('target', () => to.close());
    const report = await copyEvents({
      from,
      to,
      signal,
      onProgress: ({ phase, events, fraction }) => progress.update(DOING[phase], events, fraction),
    });
    progress.end();
    const seconds = Math.round(performance.now() - began) / 1_000;
    return {
      data: { from: from.name, to: to.name, ...report, seconds },
      text: [
        `Copied ${report.copied} events from ${from.name} to ${to.name}.`,
        `Both hold the same ${report.events} events in ${report.streams} streams; SHA-256 ${report.sha256}.`,
      ].join('\n'),
    };
  } finally {
    progress.end();
    await releasers.releaseAll();
  }
}
