import { setImmediate as nextTurn } from 'node:timers/promises';
import { isAborted, sleep } from '../../waiting.ts';
import { errorMessage, UnavailableError } from '../../errors.ts';
import { decodeEvent } from '../../events/codec.ts';
import { START } from '../../events/event-store.ts';
import type { EventStore, Position, PositionedEvent } from '../../events/event-store.ts';
import { JOB_LOG_PREFIX, JOB_PREFIX } from '../../events/job.ts';
import type { Logger } from '../../logger.ts';
import type { CheckpointGate } from './checkpoint-gate.ts';
import { encodeCursor } from './cursor.ts';
import type { JobOwners } from './job-owners.ts';
import { isLiveEvent, jobIdOf, liveMessage } from './live-messages.ts';

/** An event on its way to clients. */
export interface LiveItem {
  readonly jobId: string;
  readonly position: Position;
  /** Whether it stands in the job's own stream or in its log stream. */
  readonly kind: 'job' | 'log';
  /** In that stream. */
  readonly revision: number;
  /** The message as it is sent, the same text for every client. */
  readonly text: string;
}

export interface LiveListener {
  readonly userId: string;
  /** @param byUser whether it comes because the listener follows its user's jobs, and not by the job's id alone */
  deliver(item: LiveItem, byUser: boolean): void;
  /** The feed broke off: what follows cannot be delivered. */
  disrupted(): void;
}

/** Lets events out to the clients of this process, in the store's order, once the read models have them. */
export interface LiveFeed {
  /** Everything up to here has been delivered; nothing after it has. */
  readonly position: Position;
  /** Resolves when the feed runs. Until `leave` it keeps running. @throws UnavailableError */
  join(listener: LiveListener): Promise<void>;
  /** Ends everything that the listener follows. Idempotent. */
  leave(listener: LiveListener): void;
  followJob(jobId: string, listener: LiveListener): void;
  leaveJob(jobId: string, listener: LiveListener): void;
  /** Every job of the listener's user. */
  followUser(listener: LiveListener): void;
  leaveUser(listener: LiveListener): void;
  close(): Promise<void>;
}

export interface LiveFeedOptions {
  readonly store: EventStore;
  readonly gate: CheckpointGate;
  readonly owners: JobOwners;
  /** Is shown every event before clients are told, so that what they then read here is not older. */
  readonly observe?: ((events: readonly PositionedEvent[]) => void) | undefined;
  readonly logger: Logger;
}

export const LIVE_PREFIXES = [JOB_PREFIX, JOB_LOG_PREFIX] as const;
const BATCH = 100;
/** Characters handed out in one turn of the event loop: sockets get their turn to send before more comes. */
const BURST = 131_072;
const RETRY_MS = { first: 100, most: 2_000 };

/** @returns null, and the reason in the log, when this build cannot read the event */
export function liveItem(recorded: PositionedEvent, logger: Logger): LiveItem | null {
  try {
    const event = decodeEvent(recorded);
    if (!isLiveEvent(event)) return null;
    const message = liveMessage(event, recorded);
    return {
      jobId: jobIdOf(recorded),
      position: recorded.position,
      kind: recorded.stream.startsWith(JOB_LOG_PREFIX) ? 'log' : 'job',
      revision: recorded.revision,
      text: JSON.stringify({ ...message, cursor: encodeCursor(recorded.position) }),
    };
  } catch (error) {
    logger.error({ reason: errorMessage(error) }, 'An event cannot be told to live clients');
    return null;
  }
}

/** One run along the store. It runs only while somebody is there to hear. */
interface Tail {
  position: Position;
  readonly started: Promise<void>;
  readonly ended: Promise<void>;
  readonly stop: () => void;
}

export function createLiveFeed({ store, gate, owners, observe, logger }: LiveFeedOptions): LiveFeed {
  const listeners = new Set<LiveListener>();
  const byJob = new Map<string, Set<LiveListener>>();
  const byUser = new Map<string, Set<LiveListener>>();
  const jobsOf = new Map<LiveListener, Set<string>>();
  let tail: Tail | null = null;
  let last: Promise<void> = Promise.resolve();
  let closed = false;

  function startTail(): Tail {
    const stopping = new AbortController();
    const { signal } = stopping;
    let ready!: () => void;
    let failed!: (error: unknown) => void;
    const started = new Promise<void>((resolve, reject) => {
      ready = resolve;
      failed = reject;
    });
    started.catch(() => undefined);
    const run = async (): Promise<void> => {
      try {
        // Not from the store's head: what the read models lack yet is still to be delivered.
        current.position = await gate.passed();
        ready();
        await follow(current, signal);
      } catch (error) {
        failed(error);
        if (!isAborted(signal)) disrupt(current, error);
      }
    };
    const current: Tail = {
      position: START,
      started,
      // A turn later, so that `current` is there.
      ended: Promise.resolve().then(run),
      stop: () => stopping.abort(),
    };
    last = Promise.all([last, current.ended]).then(() => undefined);
    return current;
  }

  function disrupt(broken: Tail, error: unknown): void {
    logger.error({ err: error }, 'Live feed interrupted; its clients have to come again');
    if (tail === broken) tail = null;
    for (const listener of [...listeners]) listener.disrupted();
  }

  async function follow(current: Tail, signal: AbortSignal): Promise<void> {
    const options = { after: current.position, prefixes: LIVE_PREFIXES, signal, batchSize: BATCH };
    for await (const message of store.subscribe(options)) {
      if (message.kind === 'events') await release(message.events, current, signal);
      else if (message.position > current.position) current.position = message.position;
      if (isAborted(signal)) return;
    }
    if (!isAborted(signal)) throw new Error('The subscription to the store ended');
  }

  /** Hands a batch out, as fast as the gate lets it. */
  async function release(
    events: readonly PositionedEvent[],
    current: Tail,
    signal: AbortSignal,
  ): Promise<void> {
    let burst = 0;
    let prepared = false;
    observe?.(events);
    for (const event of events) {
      if (!gate.passes(event)) await gate.wait(event, signal);
      if (isAborted(signal)) return;
      const jobId = jobIdOf(event);
      let owner: string | null = null;
      if (byUser.size > 0) {
        if (!prepared) await persistently(() => owners.prepare(events), signal);
        prepared = true;
        owner = (await persistently(() => owners.of(jobId), signal)) ?? null;
        if (isAborted(signal)) return;
      }
      burst += fanOut(event, jobId, owner);
      current.position = event.position;
      if (burst > BURST) {
        burst = 0;
        await nextTurn();
        if (isAborted(signal)) return;
      }
    }
  }

  /** @returns the characters handed out, to all together */
  function fanOut(event: PositionedEvent, jobId: string, owner: string | null): number {
    const watching = byJob.get(jobId);
    const following = owner === null ? undefined : byUser.get(owner);
    if (!watching && !following) return 0;
    const item = liveItem(event, logger);
    if (item === null) return 0;
    for (const listener of following ?? []) listener.deliver(item, true);
    for (const listener of watching ?? []) if (!following?.has(listener)) listener.deliver(item, false);
    return item.text.length;
  }

  async function persistently<T>(work: () => Promise<T>, signal: AbortSignal): Promise<T | undefined> {
    for (let wait = RETRY_MS.first; !isAborted(signal); wait = Math.min(wait * 2, RETRY_MS.most)) {
      try {
        return await work();
      } catch (error) {
        if (!(error instanceof UnavailableError)) throw error;
        logger.warn({ reason: errorMessage(error) }, 'Live feed cannot look up owners; trying again');
        await sleep(wait * (0.5 + Math.random() / 2), signal);
      }
    }
    return undefined;
  }

  function leaveJob(jobId: string, listener: LiveListener): void {
    remove(byJob, jobId, listener);
    jobsOf.get(listener)?.delete(jobId);
  }

  return {
    get position() {
      return tail?.position ?? START;
    },
    async join(listener) {
      if (closed) throw new UnavailableError('live feed', 'The live feed is closed');
      listeners.add(listener);
      tail ??= startTail();
      const joined = tail;
      try {
        await joined.started;
      } catch (error) {
        if (tail === joined) tail = null;
        throw error;
      }
    },
    leave(listener) {
      for (const jobId of jobsOf.get(listener) ?? []) remove(byJob, jobId, listener);
      jobsOf.delete(listener);
      remove(byUser, listener.userId, listener);
      if (!listeners.delete(listener) || listeners.size > 0) return;
      tail?.stop();
      tail = null;
    },
    followJob(jobId, listener) {
      add(byJob, jobId, listener);
      const jobs = jobsOf.get(listener) ?? new Set();
      jobsOf.set(listener, jobs.add(jobId));
    },
    leaveJob,
    followUser: (listener) => add(byUser, listener.userId, listener),
    leaveUser: (listener) => remove(byUser, listener.userId, listener),
    async close() {
      closed = true;
      tail?.stop();
      tail = null;
      await last;
    },
  };
}

function add<Key, Value>(index: Map<Key, Set<Value>>, key: Key, value: Value): void {
  const values = index.get(key);
  if (values) values.add(value);
  else index.set(key, new Set([value]));
}

function remove<Key, Value>(index: Map<Key, Set<Value>>, key: Key, value: Value): void {
  const values = index.get(key);
  if (values?.delete(value) && values.size === 0) index.delete(key);
}
