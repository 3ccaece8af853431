/** A queue that the service could have been built on, alone: no API, no record of what became of a job. */
export interface PeerQueue {
  add(n: number): Promise<void>;
  /** As many at once as it is made for. */
  addMany(count: number): Promise<void>;
  /** Works until it is closed. @param done called for each job, which does nothing else */
  work(concurrency: number, done: () => void): Promise<void>;
  close(): Promise<void>;
}

/** Jobs that are added in one call, where there is a choice. */
const BULK = 500;

/** Numbers from 0 on, in portions for one call each. */
export function* portions(count: number): Generator<number[]> {
  for (let first = 0; first < count; first += BULK)
    yield Array.from({ length: Math.min(BULK, count - first) }, (_, i) => first + i);
}
