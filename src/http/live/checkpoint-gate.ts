import { isAborted } from '../../waiting.ts';
import type { Bus } from '../../bus.ts';
import { errorMessage } from '../../errors.ts';
import { START } from '../../events/event-store.ts';
import type { Position } from '../../events/event-store.ts';
import { JOB_LOG_PREFIX } from '../../events/job.ts';
import type { Logger } from '../../logger.ts';
import type { Checkpoint, LiveQueries } from '../../queries/live.ts';

/** The read models that clients look at when a message tells them to. */
const JOBS = 'jobs';
const JOB_LOGS = 'job_logs';

/** Milliseconds between two looks at the checkpoints while something waits; hints from the bus come sooner. */
const POLL = { least: 100, most: 250 };
/** How long a projection that was seen stopped counts as stopped without a new look. */
const STOPPED_FOR_MS = 5_000;

interface Passing {
  readonly stream: string;
  readonly position: Position;
}

/** Tells which events the read models have already. */
export interface CheckpointGate {
  /**
   * Whether the read models have what the event tells of, as far as is known. A log read model that has stopped is not
   * waited for: `/readyz` tells of it, and the events are true without it.
   */
  passes(event: Passing): boolean;
  /** Resolves when the event passes, or on the signal. */
  wait(event: Passing, signal: AbortSignal): Promise<void>;
  /** The position up to which every read model that counts has everything. @throws UnavailableError */
  passed(): Promise<Position>;
  close(): void;
}

export interface CheckpointGateOptions {
  readonly queries: LiveQueries;
  readonly bus: Bus;
  readonly logger: Logger;
}

export function createCheckpointGate({ queries, bus, logger }: CheckpointGateOptions): CheckpointGate {
  const known = new Map<string, Checkpoint>();
  const waiting = new Set<() => void>();
  let stoppedSeenAt = Number.NEGATIVE_INFINITY;

  const leave = bus.subscribe('checkpoint', ({ projection, position }) => {
    const reached = BigInt(position);
    if (reached <= (known.get(projection)?.position ?? START)) return;
    known.set(projection, { position: reached, stopped: false });
    for (const wake of [...waiting]) wake();
  });

  async function look(): Promise<void> {
    const checkpoints = await queries.checkpoints([JOBS, JOB_LOGS]);
    for (const [name, seen] of checkpoints) {
      // A hint may have told of more: while this was asked, or of events that the row is moved past later.
      const hinted = known.get(name)?.position ?? START;
      if (seen.position >= hinted) known.set(name, seen);
      else if (seen.stopped) known.set(name, { position: hinted, stopped: true });
    }
    if (known.get(JOB_LOGS)?.stopped) stoppedSeenAt = performance.now();
  }

  const isStopped = (name: string): boolean =>
    name === JOB_LOGS &&
    known.get(name)?.stopped === true &&
    performance.now() - stoppedSeenAt < STOPPED_FOR_MS;

  /** A job's own events are lines of its log as well: they wait for both read models. */
  function passes({ stream, position }: Passing): boolean {
    const wanted = stream.startsWith(JOB_LOG_PREFIX) ? [JOB_LOGS] : [JOBS, JOB_LOGS];
    return wanted.every((name) => (known.get(name)?.position ?? START) >= position || isStopped(name));
  }

  /** Until the next hint, the time for the next look, or the signal. */
  function pause(signal: AbortSignal): Promise<void> {
    return new Promise((resolve) => {
      const wake = (): void => {
        waiting.delete(wake);
        clearTimeout(timer);
        signal.removeEventListener('abort', wake);
        resolve();
      };
      const timer = setTimeout(wake, POLL.least + Math.random() * (POLL.most - POLL.least));
      signal.addEventListener('abort', wake, { once: true });
      waiting.add(wake);
    });
  }

  return {
    passes,
    async wait(event, signal) {
      let lookedAt = performance.now();
      while (!signal.aborted && !passes(event)) {
        await pause(signal);
        if (isAborted(signal) || passes(event)) return;
        // Hints about other events must not multiply the looks.
        if (performance.now() - lookedAt < POLL.least) continue;
        lookedAt = performance.now();
        await look().catch((error: unknown) =>
          logger.warn({ reason: errorMessage(error) }, 'Live feed cannot see the checkpoints; trying again'),
        );
      }
    },
    async passed() {
      await look();
      const jobs = known.get(JOBS)?.position ?? START;
      const logs = known.get(JOB_LOGS)?.position ?? START;
      return isStopped(JOB_LOGS) || logs > jobs ? jobs : logs;
    },
    close: leave,
  };
}
