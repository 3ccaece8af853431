import { randomUUID } from 'node:crypto';
import jwt from 'jsonwebtoken';
import pg from 'pg';
import { schema } from '../baseline/schema.ts';
import { answers, startProcess } from '../lib/processes.ts';
import type { Process } from '../lib/processes.ts';
import { freePort } from '../../src/infrastructure/embedded/ports.ts';
import { NO_LIMIT } from './subject.ts';
import type { Subject } from './subject.ts';

const JWT_ACCESS_SECRET = 'access secret of the baseline, 32 bytes and more';

/** The same API written the ordinary way; see `bench/baseline/`. */
export const baseline: Subject = {
  name: 'baseline',
  async start(environment) {
    const database = await environment.createDatabase();
    const redisUrl = await environment.freshRedis();
    const client = new pg.Client(database.url);
    await client.connect();
    await client.query(schema);
    await client.end();
    const settings = {
      DATABASE_URL: database.url,
      REDIS_URL: redisUrl,
      JWT_ACCESS_SECRET,
      PORT: String(await freePort()),
      RATE_LIMIT_JOBS_PER_MINUTE: NO_LIMIT,
    };
    const base = `http://127.0.0.1:${settings.PORT}`;
    const processes: Process[] = [];
    const start = async (
      file: string,
      more: Record<string, string>,
      isUp?: () => Promise<boolean>,
    ): Promise<Process> => {
      const started = await startProcess(file, { ...settings, ...more }, isUp);
      processes.push(started);
      return started;
    };
    await start('bench/baseline/api.js', {}, answers(`${base}/healthz`));
    return {
      base,
      databaseUrl: database.url,
      createUser: () =>
        Promise.resolve(
          jwt.sign({ sub: randomUUID() }, JWT_ACCESS_SECRET, { algorithm: 'HS256', expiresIn: '1d' }),
        ),
      startWorker: (concurrency) =>
        start('bench/baseline/worker.js', { WORKER_CONCURRENCY: String(concurrency) }),
      processes: () => processes,
      async stop() {
        for (const each of [...processes].reverse()) await each.stop();
        await database.drop();
      },
    };
  },
};
