import { Command } from 'commander';
import { readStoreStats } from '../../transfer/store-stats.ts';
import type { Mark, StoreStats } from '../../transfer/store-stats.ts';
import { withAction } from '../action.ts';
import type { Cli, Report } from '../action.ts';
import { withConfiguredStore } from '../configured-store.ts';
import { createProgress } from '../progress.ts';

const MANUAL = `
Reads every event up to the newest there is when it begins. Bytes are those of data and metadata as JSON; what a store needs on disk for
them, its indexes included, is more.`;

/** `asyncly events stats` */
export function eventsStatsCommand(cli: Cli): Command {
  const command = new Command('stats')
    .description('count events, streams and bytes, by category and by type')
    .addHelpText('after', MANUAL);
  return withAction(command, cli, () =>
    withConfiguredStore(async (opened) => {
      const progress = createProgress();
      try {
        const stats = await readStoreStats(opened, {
          signal: cli.signal,
          onProgress: (events, fraction) => progress.update('Counting', events, fraction),
        });
        progress.end();
        return report(opened.name, stats);
      } finally {
        progress.end();
      }
    }),
  );
}

function report(store: string, stats: StoreStats): Report {
  const { events, streams, bytes } = stats;
  const categories = [...stats.categories].sort(([left], [right]) => (left < right ? -1 : 1));
  const types = [...stats.types].sort(([left], [right]) => (left < right ? -1 : 1));
  const data = {
    store,
    events,
    streams,
    bytes,
    categories: Object.fromEntries(categories),
    types: Object.fromEntries(types),
    first: markData(stats.first),
    last: markData(stats.last),
  };
  const table = [
    ['', 'events', 'streams', 'bytes'],
    ...categories.map(([name, count]) => [name, count.events, count.streams, count.bytes].map(String)),
    ['all', events, streams, bytes].map(String),
    [],
    ...types.map(([type, count]) => [type, String(count.events), '', String(count.bytes)]),
  ];
  const marks = [`first  ${markText(stats.first)}`, `last   ${markText(stats.last)}`];
  return { data, text: [store, '', ...alignedLines(table), '', ...marks].join('\n') };
}

function markData(mark: Mark | null): { position: string; occurredAt: string } | null {
  return mark && { position: mark.position.toString(), occurredAt: mark.occurredAt };
}

function markText(mark: Mark | null): string {
  return mark === null ? 'none' : `${mark.occurredAt} at position ${mark.position.toString()}`;
}

/** The first column to the left, the others to the right. */
function alignedLines(table: readonly (readonly string[])[]): string[] {
  const widths = [0, 1, 2, 3].map((column) => Math.max(...table.map((row) => row[column]?.length ?? 0)));
  return table.map((row) =>
    row
      .map((cell, column) =>
        column === 0 ? cell.padEnd(widths[0] ?? 0) : cell.padStart((widths[column] ?? 0) + 2),
      )
      .join('')
      .trimEnd(),
  );
}
