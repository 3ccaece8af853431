import { Command } from 'commander';
import { databaseAddress, openDatabase } from '../../composition/open-database.ts';
import type { OpenDatabaseOptions } from '../../composition/open-database.ts';
import { eventStoreAddress, openEventStore } from '../../composition/open-event-store.ts';
import { loadConfig } from '../../config.ts';
import type { Database } from '../../database.ts';
import { START } from '../../events/event-store.ts';
import type { EventStore, Position } from '../../events/event-store.ts';
import { createLogger } from '../../logger.ts';
import { projections } from '../../projections/registry.ts';
import { listProjections, projectionStatus } from '../../projections/status.ts';
import type { Listed, Status } from '../../projections/status.ts';
import type { Version } from '../../projections/versions.ts';
import { Releasers } from '../../releasers.ts';
import { withAction } from '../action.ts';
import type { Cli } from '../action.ts';
import { formatTable } from '../table.ts';

/** `asyncly projections list` */
export function projectionsListCommand(cli: Cli): Command {
  const command = new Command('list').description(
    'the read models there are, with their tables and versions',
  );
  return withAction(command, cli, () =>
    reading(async (database) => {
      const listed = await listProjections(database, projections);
      return {
        data: { projections: listed.map((entry) => ({ ...describeData(entry) })) },
        text: formatTable(
          ['NAME', 'TABLES', 'STREAMS', 'LIVE', 'KEPT'],
          listed.map((entry) => [
            entry.projection.name,
            entry.projection.tables.join(', '),
            entry.projection.prefixes.map((prefix) => `${prefix}*`).join(', '),
            `version ${entry.live}`,
            entry.others.map(({ version, state }) => `version ${version} (${state})`).join(', '),
          ]),
        ),
      };
    }),
  );
}

/** `asyncly projections status` */
export function projectionsStatusCommand(cli: Cli): Command {
  const command = new Command('status').description(
    'how far each read model is, and what is kept or being built',
  );
  return withAction(command, cli, () =>
    reading(async (database, openStore) => {
      const head = await (await openStore()).head();
      const found = await projectionStatus(database, projections, head);
      return {
        data: {
          head: head.toString(),
          projections: found.map((status) => ({
            ...describeData(status, head),
            position: status.position?.toString() ?? null,
            lag: status.lag === null ? null : Number(status.lag),
            state: status.state,
            stopped: status.stopped,
            rows: status.rows,
          })),
        },
        text: [
          formatTable(
            ['NAME', 'STATE', 'POSITION#', 'LAG#', 'ROWS#', 'VERSIONS'],
            found.map((status) => [
              status.projection.name,
              status.state,
              status.position?.toString() ?? '-',
              status.lag?.toString() ?? '-',
              String(Object.values(status.rows).reduce((sum, rows) => sum + rows, 0)),
              [`${status.live} live`, ...status.others.map((version) => shortVersion(version, head))].join(
                ', ',
              ),
            ]),
          ),
          ...found.flatMap(({ projection, stopped }) =>
            stopped === null ? [] : [`${projection.name} has stopped: ${stopped.reason}`],
          ),
        ].join('\n'),
      };
    }),
  );
}

function describeData({ projection, live, others }: Listed | Status, head: Position | null = null) {
  return {
    name: projection.name,
    tables: projection.tables,
    prefixes: projection.prefixes,
    live,
    versions: others.map(({ version, state, position, begunAt, release }) => ({
      version,
      state,
      position: position.toString(),
      ...(head !== null && { progress: progressOf(position, head) }),
      begunAt: begunAt.toISOString(),
      release,
    })),
  };
}

function shortVersion({ version, state, position }: Version, head: Position): string {
  const done = state === 'previous' ? '' : ` ${Math.floor(progressOf(position, head) * 100)} %`;
  return `${version} ${state}${done}`;
}

/** 0 to 1. */
const progressOf = (position: Position, head: Position): number =>
  head === START ? 1 : Number(position - START) / Number(head - START);

/** Looks at the configured deployment, beside the service or without it. The event store is opened when it is asked for. */
async function reading<T>(
  look: (database: Database, openStore: () => Promise<EventStore>) => Promise<T>,
): Promise<T> {
  const config = loadConfig();
  const logger = createLogger('warn', 'stderr');
  const releasers = new Releasers(logger);
  const options: OpenDatabaseOptions = { dataDir: config.DATA_DIR, logger, use: 'maintaining' };
  try {
    const { database, close } = await openDatabase(databaseAddress(config), options);
    releasers.push('database', close);
    return await look(database, async () => {
      const opened = await openEventStore(eventStoreAddress(config), options);
      releasers.push('event store', opened.close);
      return opened.store;
    });
  } finally {
    await releasers.releaseAll();
  }
}
