import type { Queryable } from '../database.ts';
import { errorMessage } from '../errors.ts';
import type { EventStore, Position } from '../events/event-store.ts';
import type { Logger } from '../logger.ts';

/** How a part is: `failed` makes the service not ready, `degraded` is something to look at. */
export interface PartState {
  readonly status: 'ok' | 'degraded' | 'failed';
  /** How far behind the newest event, in the store's positions. */
  readonly lag?: number;
  readonly detail?: string;
}

export interface Readiness {
  readonly ready: boolean;
  readonly parts: Readonly<Record<string, PartState>>;
}

export interface ReadinessOptions {
  readonly database: Queryable;
  readonly store: EventStore;
  /** Names of the projections; of these, only `jobs` decides over readiness. */
  readonly projections: readonly string[];
  /** Resolves when Redis answers; null without Redis. */
  readonly pingRedis?: (() => Promise<unknown>) | null;
  readonly logger: Logger;
}

/** A checkpoint that trails the store and has not moved for this long belongs to a consumer that is not running. */
const STALLED_AFTER_MS = 30_000;

interface CheckpointRow {
  readonly name: string;
  readonly position: Position;
  readonly error: string | null;
  readonly failed_event_id: string | null;
}

/**
 * Looks at every part of the service, each time it is called; those who call meanwhile get the same answer, for anyone may ask, as
 * often as they like. Never rejects.
 */
export function createReadiness({
  database,
  store,
  projections,
  pingRedis = null,
  logger,
}: ReadinessOptions): () => Promise<Readiness> {
  const stalls = new Map<string, { position: Position; since: number }>();

  /** How long a trailing checkpoint has stood where it is, as far as anyone has looked. */
  function standingFor({ name, position }: CheckpointRow, behind: boolean): number {
    const seen = stalls.get(name);
    if (!behind) stalls.delete(name);
    else if (seen?.position === position) return performance.now() - seen.since;
    else stalls.set(name, { position, since: performance.now() });
    return 0;
  }

  function consumerState(row: CheckpointRow | undefined, head: Position, essential: boolean): PartState {
    const bad = essential ? 'failed' : 'degraded';
    if (!row) return { status: bad, detail: 'has never run' };
    const lag = Number(head > row.position ? head - row.position : 0n);
    // Anyone may ask: the reason, which may quote values of rows, stays in the service's log and in `checkpoints`.
    if (row.error !== null) return { status: bad, lag, detail: stopped(row) };
    if (standingFor(row, lag > 0) > STALLED_AFTER_MS)
      return { status: bad, lag, detail: 'does not move: is it running?' };
    return { status: 'ok', lag };
  }

  async function workersState(): Promise<PartState> {
    const { rows } = await database.query<{ alive: number }>(
      `SELECT count(*)::integer AS alive FROM workers WHERE beat_at > clock_timestamp() - interval '10 s'`,
    );
    const alive = rows[0]?.alive ?? 0;
    return alive > 0
      ? { status: 'ok', detail: `${alive} alive` }
      : { status: 'degraded', detail: 'no worker is alive' };
  }

  async function look(): Promise<Readiness> {
    const parts: Record<string, PartState> = pingRedis === null ? {} : { redis: await redisState(pingRedis) };
    try {
      parts.postgres = { status: 'failed' };
      const { rows } = await database.query<CheckpointRow>(
        'SELECT name, position, error, failed_event_id FROM checkpoints',
      );
      parts.postgres = { status: 'ok' };
      parts.workers = await workersState();
      parts.eventStore = { status: 'failed' };
      const head = await store.head();
      parts.eventStore = { status: 'ok' };
      for (const name of projections) {
        const row = rows.find((checkpoint) => checkpoint.name === name);
        parts[`projection:${name}`] = consumerState(row, head, name === 'jobs');
      }
      parts.dispatcher = consumerState(
        rows.find(({ name }) => name === 'dispatcher'),
        head,
        false,
      );
    } catch (error) {
      const [name] = Object.entries(parts).find(([, part]) => part.status === 'failed') ?? ['postgres'];
      logger.warn({ part: name, reason: errorMessage(error) }, 'Not ready');
      parts[name] = { status: 'failed', detail: 'does not answer' };
    }
    return { ready: Object.values(parts).every(({ status }) => status !== 'failed'), parts };
  }

  let looking: Promise<Readiness> | null = null;
  return () => (looking ??= look().finally(() => (looking = null)));
}

/** Requests are served without it; what was submitted is run when it is back. */
async function redisState(ping: () => Promise<unknown>): Promise<PartState> {
  return ping().then(
    () => ({ status: 'ok' }),
    () => ({ status: 'degraded', detail: 'does not answer: jobs wait until it is back' }),
  );
}

function stopped({ failed_event_id: id }: CheckpointRow): string {
  return id === null ? 'has stopped: see the log' : `has stopped in front of event ${id}: see the log`;
}
