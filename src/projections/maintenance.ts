import type { Database, Queryable } from '../database.ts';
import { AppError } from '../errors.ts';
import type { EventStore } from '../events/event-store.ts';
import type { Logger } from '../logger.ts';
import { LeaseTakenError, runUnderLease } from '../subscriptions/run-under-lease.ts';
import { isAborted } from '../waiting.ts';
import { dropVersion } from './drop-version.ts';
import { cancelOwnStatements, endOthersConnections } from './maintenance-connections.ts';
import { loadVersions } from './versions.ts';

export interface MaintenanceOptions {
  /** Its statements may take as long as they need. Nothing else uses its connections, whose name is {@link maintenanceName}'s. */
  readonly database: Database;
  /** The same Postgres by other connections, whose statements are cut off when they take long. */
  readonly control: Queryable;
  readonly store: EventStore;
  readonly logger: Logger;
  /** UUID of this process. */
  readonly holder: string;
  /** Of Asyncly: a version that another one began is not gone on with. */
  readonly release: string;
  readonly signal: AbortSignal;
  /** Most events in one transaction; default 4,000. */
  readonly batchSize?: number;
  /** How often it is tried to compare or swap while others are in the way; default 20, some 40 s of waiting. */
  readonly tries?: number;
  readonly onProgress?: (progress: MaintenanceProgress) => void;
  /** How long the lease lasts without renewal, in milliseconds; default 5,000. */
  readonly leaseMs?: number;
}

/** What is being done, and to which projection; null where it is several at once. */
export type MaintenanceProgress =
  | {
      readonly phase: 'fill';
      readonly projection: string | null;
      /** Applied so far. */
      readonly events: number;
      /** How much of what there is has been applied, by this call or an earlier one: 0 to 1. */
      readonly fraction: number;
    }
  | { readonly phase: 'index' | 'compare' | 'swap'; readonly projection: string };

/** What a piece of maintenance works with. */
export interface Maintenance extends Omit<Required<MaintenanceOptions>, 'holder' | 'leaseMs'> {
  /** Where the live tables are. */
  readonly liveSchema: string;
  /** Aborts also when the lease is lost. */
  readonly signal: AbortSignal;
  /** Resolves when nothing is cut off any more after an abort: what is done then is done in peace. */
  readonly calm: () => Promise<void>;
}

const LEASE = 'projections:maintenance';
const BATCH_SIZE = 4_000;
const TRIES = 20;

/** Only one process does it at a time. */
export class MaintenanceUnderWayError extends AppError {
  constructor() {
    super(
      'MAINTENANCE_UNDER_WAY',
      'Another process is rebuilding, verifying or rolling back read models: wait for its end',
    );
  }
}

/**
 * Does one piece of work on the versions of read models; only one process does at a time. What a killed one has left behind is
 * ended first: its statements, and what it was verifying. On an abort the statements under way are cut off.
 * @throws MaintenanceUnderWayError, the signal's reason
 */
export async function maintain<T>(
  options: MaintenanceOptions,
  work: (m: Maintenance) => Promise<T>,
): Promise<T> {
  const { database, control, holder, logger } = options;
  const { batchSize = BATCH_SIZE, tries = TRIES, onProgress = () => undefined, ...others } = options;
  const lease = { ...options, database: control, name: LEASE };
  try {
    return await runUnderLease(lease, async (signal) => {
      let cancelling = Promise.resolve();
      const cancel = (): void => {
        cancelling = cancelOwnStatements(control, holder, logger);
      };
      signal.addEventListener('abort', cancel, { once: true });
      try {
        await endOthersConnections(control, holder);
        await dropStale(database);
        const liveSchema = await findLiveSchema(database);
        const calm = (): Promise<void> => cancelling;
        return await work({ ...others, batchSize, tries, onProgress, liveSchema, signal, calm });
      } catch (error) {
        // What was cut off says that Postgres is away.
        if (isAborted(signal)) throw signal.reason;
        throw error;
      } finally {
        signal.removeEventListener('abort', cancel);
        await cancelling;
      }
    });
  } catch (error) {
    throw error instanceof LeaseTakenError ? new MaintenanceUnderWayError() : error;
  }
}

/** The tables of the service are all in one. */
async function findLiveSchema(database: Queryable): Promise<string> {
  const { rows } = await database.query<{ schema: string }>(
    `SELECT nspname AS schema FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
     WHERE c.oid = 'projection_versions'::regclass`,
  );
  return rows[0]?.schema ?? 'public';
}

/** A verification cannot be gone on with. */
async function dropStale(database: Database): Promise<void> {
  for (const version of await loadVersions(database)) {
    if (version.state === 'verifying') await dropVersion(database, version);
  }
}
