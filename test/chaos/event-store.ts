import { spawnEventStoreDouble } from '../support/eventstoredb/process.ts';

/** The event store's double, with a log that outlives its process. */
export interface EventStorePart {
  readonly port: number;
  readonly url: string;
  readonly pid: number;
  kill(): Promise<void>;
  start(): Promise<void>;
  suspend(): void;
  resume(): void;
  dispose(): Promise<void>;
}

export async function startEventStore(file: string): Promise<EventStorePart> {
  let running = await spawnEventStoreDouble({ file });
  const { port, url } = running;
  return {
    port,
    url,
    get pid() {
      return running.pid;
    },
    kill: () => running.kill(),
    async start() {
      running = await spawnEventStoreDouble({ file, port });
    },
    suspend: () => void process.kill(running.pid, 'SIGSTOP'),
    resume: () => void process.kill(running.pid, 'SIGCONT'),
    dispose: () => running.kill(),
  };
}
