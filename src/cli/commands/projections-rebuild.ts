import { Command, InvalidArgumentError, Option } from 'commander';
import { differingRows } from '../../projections/compare.ts';
import { rebuild } from '../../projections/rebuild.ts';
import type { Rebuilt } from '../../projections/rebuild.ts';
import { withAction } from '../action.ts';
import type { Cli } from '../action.ts';
import { describeDifferences } from '../describe-comparison.ts';
import { maintaining, named, projectionArgument } from '../maintaining.ts';

interface RebuildArguments {
  readonly restart: boolean;
  readonly batchSize?: number;
}

const MANUAL = `
The service may run, and goes on unharmed: new tables are filled beside the live ones, compared with them, and put in their
place in one transaction. The former ones are kept for 'asyncly projections rollback'.

Ended at any point, by Ctrl-C or kill -9, the same command goes on where it stopped; 'asyncly projections status' shows what
there is. With --restart it begins anew: do that when the code of a projection has changed since and the release has not.`;

/** `asyncly projections rebuild` */
export function projectionsRebuildCommand(cli: Cli): Command {
  const command = new Command('rebuild')
    .description('make read models anew from all events, without downtime')
    .addArgument(projectionArgument('<name>'))
    .addOption(new Option('--restart', 'drop what an earlier call has begun').default(false))
    .addOption(
      new Option('--batch-size <events>', 'most events in one transaction (default: 4000)').argParser(
        batchSize,
      ),
    )
    .addHelpText('after', MANUAL);
  return withAction<RebuildArguments>(command, cli, async ({ restart, batchSize: events }, [name]) => {
    const began = performance.now();
    const report = await maintaining(
      cli,
      (m) => rebuild(m, named(name), { restart }),
      events === undefined ? {} : { batchSize: events },
    );
    const seconds = Math.round(performance.now() - began) / 1_000;
    const eventsPerSecond = Math.round(report.events / Math.max(0.001, report.fillMs / 1_000));
    return {
      data: {
        rebuilt: report.projections.map((rebuilt) => ({
          ...rebuilt,
          position: rebuilt.position.toString(),
          resumedFrom: rebuilt.resumedFrom?.toString() ?? null,
          mended: { ...rebuilt.mended, position: rebuilt.mended.position.toString() },
        })),
        events: report.events,
        eventsPerSecond,
        seconds,
      },
      text: [
        ...report.projections.flatMap(describe),
        `${report.events} events at ${eventsPerSecond}/s; ${seconds} s in all.`,
      ].join('\n'),
    };
  });
}

function describe(rebuilt: Rebuilt): string[] {
  const { projection, version, previous, mended, stopped } = rebuilt;
  const differing = differingRows(mended);
  return [
    `${projection}: version ${version} is live, version ${previous} is kept. ${
      differing === 0
        ? 'Its rows are as they were.'
        : `${differing} rows were not what the events say, and are now:`
    }`,
    ...describeDifferences(mended),
    ...(stopped === null ? [] : [`  It still stands in front of an event: ${stopped}`]),
  ];
}

function batchSize(text: string): number {
  const events = Number(text);
  if (!Number.isInteger(events) || events < 1 || events > 10_000) {
    throw new InvalidArgumentError('It has to be a whole number from 1 to 10000.');
  }
  return events;
}
