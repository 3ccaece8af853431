import { readFileSync } from 'node:fs';
import path from 'node:path';
import pg from 'pg';
import { z } from 'zod';
import { eventually } from '../support/waiting.ts';

/** As the owner of an embedded server writes it for others, `postgres.json`. */
const notice = z.object({ url: z.string(), port: z.int(), serverPid: z.int() });

/** A Postgres that somebody keeps running: who kills it only has to wait. */
export interface PostgresPart {
  /** null while nobody has started it. */
  port(): number | null;
  url(): string;
  kill(): Promise<void>;
  /** Resolves when it answers. */
  ready(): Promise<void>;
  /** Whether it says now that its disk is full, asked to make a table. @throws when it answers nothing, or something else */
  hasNoRoom(): Promise<boolean>;
}

/** How long a server may take to come back, its supervisor's waits and the recovery from its log included. */
const READY_MS = 90_000;

/** SQLSTATE of what Postgres makes of ENOSPC. */
const DISK_FULL = '53100';
/** A table that needs pages of its own, more than stay in memory; gone with the connection. */
const GROWING = `CREATE TEMP TABLE chaos_probe AS SELECT repeat('x', 1000) AS filling FROM generate_series(1, 20000)`;

/** @param dataDir of the embedded server */
export function postgresOf(dataDir: string): PostgresPart {
  const read = () => notice.parse(JSON.parse(readFileSync(path.join(dataDir, 'postgres.json'), 'utf8')));

  async function say(text: string): Promise<true> {
    const client = new pg.Client({
      connectionString: read().url,
      connectionTimeoutMillis: 2_000,
      query_timeout: 5_000,
    });
    client.on('error', () => undefined);
    try {
      await client.connect();
      await client.query({ text });
      return true;
    } finally {
      await client.end().catch(() => undefined);
    }
  }

  return {
    port() {
      try {
        return read().port;
      } catch {
        return null;
      }
    },
    url: () => read().url,
    async kill() {
      const { serverPid } = read();
      process.kill(serverPid, 'SIGKILL');
      await eventually(() => !isAlive(serverPid), 10_000);
    },
    ready: () => eventually(() => say('SELECT 1'), READY_MS).then(() => undefined),
    async hasNoRoom() {
      try {
        await say(GROWING);
        return false;
      } catch (error) {
        if (error instanceof pg.DatabaseError && error.code === DISK_FULL) return true;
        throw error;
      }
    },
  };
}

function isAlive(pid: number): boolean {
  try {
    // One that has ended and that its parent has not heard of yet is dead as well.
    return !/^\d+ \(.*\) Z/.test(readFileSync(`/proc/${pid}/stat`, 'utf8'));
  } catch {
    return false;
  }
}
