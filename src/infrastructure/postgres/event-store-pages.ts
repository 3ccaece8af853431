import type { Queryable } from '../../database.ts';
import { START } from '../../events/event-store.ts';
import type {
  EventMetadata,
  Position,
  PositionedEvent,
  ReadOptions,
  RecordedEvent,
} from '../../events/event-store.ts';

/** Most bytes of events in one page of a subscription; a page always has room for one event. */
const PAGE_BYTES = 8 * 1024 * 1024;

export interface PageRequest {
  /** Exclusive. */
  readonly after: Position;
  readonly prefixes: readonly string[];
  /** Most events to return. */
  readonly limit: number;
  /** Most events to look at, wanted or not; at least `limit`. */
  readonly scan: number;
}

export interface Page {
  readonly after: Position;
  readonly events: readonly PositionedEvent[];
  /** Everything wanted up to here is in this page or was before it. */
  readonly position: Position;
  /** Nothing lay beyond `position` when the page was read. */
  readonly atHead: boolean;
  /** Of the events, at most. */
  readonly bytes: number;
}

interface EventRow {
  readonly stream: string;
  readonly revision: number;
  readonly id: string;
  readonly type: string;
  readonly data: Readonly<Record<string, unknown>>;
  readonly metadata: EventMetadata;
}

/** The columns of events are NULL in the only row of a page without any. */
interface PageRow extends EventRow {
  readonly position: bigint | null;
  readonly size: number;
  readonly last_seen: bigint | null;
  readonly seen: bigint;
  readonly wanted: bigint | null;
}

/**
 * The next events in the order of the store. One statement, thus one snapshot: positions are given out under the append
 * lock, so a snapshot holds every event up to the newest it shows.
 */
export async function readPage(
  database: Queryable,
  { after, prefixes, limit, scan }: PageRequest,
): Promise<Page> {
  const { rows } = await database.query<PageRow>(
    `WITH seen AS MATERIALIZED (
       SELECT position, stream, size FROM eventstore.events WHERE position > $1 ORDER BY position LIMIT $2
     ), wanted AS (
       SELECT position, sum(size) OVER (ORDER BY position) - size AS bytes_before, count(*) OVER () AS wanted
       FROM (
         SELECT position, size FROM seen
         WHERE cardinality($3::text[]) = 0 OR stream ^@ ANY ($3) ORDER BY position LIMIT $4
       ) first
     )
     SELECT s.last_seen, s.seen, w.wanted, e.position, e.stream, e.revision, e.id, e.type, e.data, e.metadata, e.size
     FROM (SELECT max(position) AS last_seen, count(*) AS seen FROM seen) s
     LEFT JOIN (wanted w JOIN eventstore.events e ON e.position = w.position) ON w.bytes_before < $5
     ORDER BY e.position`,
    [after, scan, prefixes, limit, PAGE_BYTES],
  );
  const events = rows.flatMap((row) =>
    row.position === null ? [] : [{ ...toEvent(row), position: row.position }],
  );
  const [first] = rows;
  const last = events.at(-1);
  const bytes = rows.reduce((sum, { size }) => sum + size, 0);
  if (last && (events.length === limit || events.length < Number(first?.wanted))) {
    return { after, events, position: last.position, atHead: false, bytes };
  }
  return { after, events, position: first?.last_seen ?? after, atHead: Number(first?.seen) < scan, bytes };
}

/** A page of a stream, forwards. */
export interface StreamPageRequest {
  readonly stream: string;
  /** First revision. */
  readonly from: number;
  /** Most events to return. */
  readonly limit: number;
}

/** Pages of several streams in one statement, in the order of the requests. */
export async function readStreamPages(
  database: Queryable,
  requests: readonly StreamPageRequest[],
): Promise<RecordedEvent[][]> {
  const { rows } = await database.query<EventRow & { readonly n: number }>(
    `SELECT asked.n::integer AS n, e.stream, e.revision, e.id, e.type, e.data, e.metadata
     FROM unnest($1::text[], $2::integer[], $3::integer[]) WITH ORDINALITY AS asked (stream, first, most, n)
     CROSS JOIN LATERAL (
       SELECT * FROM eventstore.events
       WHERE stream = asked.stream AND revision >= asked.first ORDER BY revision LIMIT asked.most
     ) e
     ORDER BY asked.n, e.revision`,
    [
      requests.map(({ stream }) => stream),
      requests.map(({ from }) => from),
      requests.map(({ limit }) => limit),
    ],
  );
  const pages: RecordedEvent[][] = requests.map(() => []);
  for (const row of rows) pages[row.n - 1]?.push(toEvent(row));
  return pages;
}

/** One page of a stream; see `EventStore.read`. */
export async function readStreamPage(
  database: Queryable,
  stream: string,
  { from, direction = 'forwards', limit = 500 }: ReadOptions,
): Promise<RecordedEvent[]> {
  const columns = 'stream, revision, id, type, data, metadata';
  const { rows } =
    direction === 'forwards'
      ? await database.query<EventRow>(
          `SELECT ${columns} FROM eventstore.events WHERE stream = $1 AND revision >= $2 ORDER BY revision LIMIT $3`,
          [stream, from ?? 0, limit],
        )
      : await database.query<EventRow>(
          `SELECT ${columns} FROM eventstore.events WHERE stream = $1 AND revision <= $2 ORDER BY revision DESC LIMIT $3`,
          [stream, from ?? 2_147_483_647, limit],
        );
  return rows.map(toEvent);
}

/** The position of the newest event. */
export async function readHead(database: Queryable): Promise<Position> {
  const { rows } = await database.query<{ head: bigint | null }>(
    'SELECT max(position) AS head FROM eventstore.events',
  );
  return rows[0]?.head ?? START;
}

function toEvent({ stream, revision, id, type, data, metadata }: EventRow): RecordedEvent {
  return { stream, revision, id, type, data, metadata };
}
