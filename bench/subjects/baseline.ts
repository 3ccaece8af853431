import { randomUUID } from 'node:crypto';
import jwt from 'jsonwebtoken';
import { connect } from '../lib/connect.ts';
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
    const client = await connect(database.url);
    await client.query(schema);
    await client.end();
    const settings = {
      NODE_ENV: 'production',
      DATABASE_URL: database.url,
      REDIS_URL: await environment.freshRedis(),
      JWT_ACCESS_SECRET,
      PORT: String(await freePort()),
      RATE_LIMIT_JOBS_PER_MINUTE: NO_LIMIT,
    };
    const base = `http://127.0.0.1:${settings.PORT}`;
    const processes: Process[] = [];
    async function stop(): Promise<void> {
      for (const each of [...processes].reverse()) await each.stop();
      await database.drop();
    }
    const isUp = answers(`${base}/healthz`);
    try {
      const api = { name: 'api', file: 'bench/baseline/api.js', environment: settings, isUp };
      processes.push(await startProcess(api));
    } catch (error) {
      await stop();
      throw error;
    }
    return {
      base,
      databaseUrl: database.url,
      createUser() {
        const id = randomUUID();
        const options = { algorithm: 'HS256', expiresIn: '1d' } as const;
        return Promise.resolve({ id, token: jwt.sign({ sub: id }, JWT_ACCESS_SECRET, options) });
      },
      async startWorker(concurrency) {
        const environment = { ...settings, WORKER_CONCURRENCY: String(concurrency) };
        processes.push(await startProcess({ name: 'worker', file: 'bench/baseline/worker.js', environment }));
      },
      processes: () => processes,
      stop,
    };
  },
};
