import type { Environment } from '../lib/environment.ts';
import type { Process } from '../lib/processes.ts';

/** A service with the job API, as it is measured. */
export interface Subject {
  readonly name: string;
  /** Starts it without workers on a database of its own and an empty Redis. */
  start(environment: Environment): Promise<Running>;
}

export interface User {
  readonly id: string;
  /** For `Authorization: Bearer` and the WebSocket's `?token=`. */
  readonly token: string;
}

export interface Running {
  /** Without `/api`. */
  readonly base: string;
  /** For SQL that looks at the outcome: both kinds of subject have a table `jobs` with `id`, `user_id` and `status`. */
  readonly databaseUrl: string;
  createUser(): Promise<User>;
  startWorker(concurrency: number): Promise<void>;
  /** All of its processes now. */
  processes(): readonly Process[];
  stop(): Promise<void>;
}

/** High enough never to be met; limiting goes on costing what it costs. */
export const NO_LIMIT = '1000000';
/** The type of the jobs: both have it done in no time. */
export const JOB_TYPE = 'bench';
