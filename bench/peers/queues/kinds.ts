import { openBullmq, openBullmqOnPostgres } from './bullmq.ts';
import { openGraphileWorker } from './graphile-worker.ts';
import type { PeerQueue } from './peer-queue.ts';
import { openPgBoss } from './pg-boss.ts';

interface Kind {
  readonly name: string;
  readonly on: 'postgres' | 'redis';
  /** Makes its tables when there are none. */
  open(url: string): Promise<PeerQueue>;
}

export const kinds = {
  bullmq: { name: 'BullMQ on Redis', on: 'redis', open: openBullmq },
  bullmqOnPostgres: { name: 'BullMQ on Postgres', on: 'postgres', open: openBullmqOnPostgres },
  graphileWorker: { name: 'graphile-worker', on: 'postgres', open: openGraphileWorker },
  pgBoss: { name: 'pg-boss', on: 'postgres', open: openPgBoss },
} as const satisfies Record<string, Kind>;
export type KindName = keyof typeof kinds;
