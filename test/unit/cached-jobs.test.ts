import fc from 'fast-check';
import { afterEach, expect, test, vi } from 'vitest';
import type { JobCache } from '../../src/cache.ts';
import type { CommandOutcome } from '../../src/commands/handle-command.ts';
import type { JobEvent } from '../../src/events/job.ts';
import type { Job } from '../../src/events/job.ts';
import type { RecordedEvent } from '../../src/events/event-store.ts';
import { createMemoryJobCache } from '../../src/infrastructure/memory/job-cache.ts';
import { createCachedJobs } from '../../src/queries/cached-jobs.ts';
import type { FoundJob } from '../../src/queries/cached-jobs.ts';
import { silentLogger } from '../support/database.ts';
import { after, newJobState } from '../support/jobs.ts';
import { events, USER } from '../support/job-spec.ts';
import { stored } from '../support/store.ts';

/** A stream as long as wanted: started, released, started, … */
function history(length: number): { states: Job[]; recorded: RecordedEvent[] } {
  const states = [newJobState()];
  const happened: JobEvent[] = [events.created()];
  for (let n = 1; n < length; n++) {
    const event = n % 2 ? events.started(n) : events.released(n - 1);
    happened.push(event);
    states.push(after(states[n - 1]!, event));
  }
  const { id } = states[0]!;
  const recorded = happened.map((event, revision) => ({ ...stored(event), stream: `job-${id}`, revision }));
  return { states, recorded };
}

const { states, recorded } = history(60);
const { id: JOB } = states[0]!;
const worker = { kind: 'worker', id: 'w' } as const;
const context = { actor: { kind: 'user', id: USER }, correlationId: 'c', causationId: 'c' } as const;

/** A stream that grows when told. */
interface Stream {
  newest: number;
}

/** A job read by way of a cache, in one process. Reads answer when they are let. */
function setUp(cache: JobCache = createMemoryJobCache(), stream: Stream = { newest: 0 }) {
  const held: (() => void)[] = [];
  const cached = createCachedJobs({
    cache,
    logger: silentLogger,
    jobs: {
      get(_, userId) {
        const job = states[stream.newest]!;
        return new Promise((resolve) => held.push(() => resolve(job.userId === userId ? job : null)));
      },
      list: () => Promise.resolve({ jobs: [], total: 0 }),
    },
  });
  const write = (): Promise<CommandOutcome> => {
    stream.newest++;
    return Promise.resolve({ job: states[stream.newest]!, events: [events.released(1)] });
  };
  const send = cached.remembering(write);
  return {
    cache,
    cached,
    stream,
    /** A user's command, in this process. */
    command: () => send(JOB, { type: 'RetryJob', userId: USER }, context),
    /** A worker's, in this process. */
    work: () => send(JOB, { type: 'RetryJob', userId: USER }, { ...context, actor: worker }),
    /** A write of another process. */
    writeElsewhere: () => {
      stream.newest++;
    },
    release: () => held.shift()?.(),
    read: async (minRevision?: number) => {
      const found = cached.jobs.find(JOB, USER, minRevision);
      await settled();
      while (held.length > 0) {
        held.shift()!();
        await settled();
      }
      return found;
    },
    /** A read that may find the cache; else it goes on until it is let. */
    async glance() {
      cached.confirm(performance.now());
      let found: FoundJob | null = null;
      void cached.jobs.find(JOB, USER).then((answer) => (found = answer));
      await settled();
      return found as FoundJob | null;
    },
  };
}

const settled = () => new Promise((resolve) => setImmediate(resolve));

afterEach(() => void vi.restoreAllMocks());

test('a job is read once and then comes from the cache, for its owner alone', async () => {
  const { cached, read } = setUp();
  cached.confirm(performance.now());
  expect(await read()).toEqual({ job: states[0], cached: false });
  expect(await read()).toEqual({ job: states[0], cached: true });
  expect(await cached.jobs.find(JOB, 'someone else')).toBeNull();
  expect(await cached.jobs.get(JOB, 'someone else')).toBeNull();
});

test('minRevision beyond the kept one goes past the cache', async () => {
  const { cached, read, writeElsewhere } = setUp();
  cached.confirm(performance.now());
  await read();
  writeElsewhere();
  expect(await read(0)).toMatchObject({ job: { revision: 0 }, cached: true });
  expect(await read(1)).toMatchObject({ job: { revision: 1 }, cached: false });
  expect(await read(1)).toMatchObject({ job: { revision: 1 }, cached: true });
});

test('what a command wrote is in the cache when it is answered', async () => {
  const { cached, read, command } = setUp();
  cached.confirm(performance.now());
  await read();
  await command();
  expect(await read()).toMatchObject({ job: { revision: 1 }, cached: true });
});

test('nothing is served that nobody vouches for', async () => {
  const { cached, read } = setUp();
  await read();
  expect(await read()).toMatchObject({ cached: false });
  const now = vi.spyOn(performance, 'now');
  now.mockReturnValue(50_000);
  cached.confirm(50_000);
  expect(await read()).toMatchObject({ cached: true });
  now.mockReturnValue(51_001);
  expect(await read()).toMatchObject({ cached: false });
  cached.confirm(49_000);
  expect(await read()).toMatchObject({ cached: false });
  cached.confirm(50_500);
  expect(await read()).toMatchObject({ cached: true });
});

test('what the cache itself doubts is kept current and not served', async () => {
  let doubtedUntil = Number.NEGATIVE_INFINITY;
  const cache: JobCache = {
    ...createMemoryJobCache(),
    get doubtedUntil() {
      return doubtedUntil;
    },
  };
  const { cached, read, writeElsewhere } = setUp(cache);
  cached.confirm(performance.now());
  await read();
  doubtedUntil = Number.POSITIVE_INFINITY;
  writeElsewhere();
  cached.observe([recorded[1]!]);
  expect(await cache.get(JOB)).toBeNull();
  expect(await read()).toMatchObject({ cached: false });
  doubtedUntil = Number.NEGATIVE_INFINITY;
  expect(await read()).toMatchObject({ job: { revision: 1 }, cached: true });
});

test('jobs stay for a minute, ended ones for five', async () => {
  const ttls: number[] = [];
  const memory = createMemoryJobCache();
  const { command, cached } = setUp({
    ...memory,
    put: (job, ttlMs) => {
      ttls.push(ttlMs);
      return memory.put(job, ttlMs);
    },
  });
  await command();
  const ended = { ...states[1]!, status: 'DONE', revision: 2 } as const;
  await cached.remembering(() => Promise.resolve({ job: ended, events: [events.released(1)] }))(
    JOB,
    { type: 'RetryJob', userId: USER },
    context,
  );
  expect(ttls).toEqual([60_000, 300_000]);
});

test('an entry is let go by the event that makes it old, and by no other', async () => {
  const { cached, cache, command, read } = setUp();
  cached.confirm(performance.now());
  await command();
  cached.observe([recorded[0]!, recorded[1]!]);
  expect(await cache.get(JOB)).toEqual(states[1]);
  cached.observe([{ ...recorded[5]!, stream: recorded[5]!.stream.replace('job-', 'jobLog-') }]);
  expect(await cache.get(JOB)).toEqual(states[1]);
  cached.observe([recorded[2]!]);
  expect(await cache.get(JOB)).toBeNull();
  expect(await read()).toMatchObject({ cached: false });
});

test('what another process has put is not served when something newer was heard of', async () => {
  const { cached, cache, read, stream } = setUp();
  cached.confirm(performance.now());
  stream.newest = 3;
  cached.observe([recorded[3]!]);
  await cache.put(states[2]!, 60_000);
  expect(await read()).toMatchObject({ job: { revision: 3 }, cached: false });
  expect(await read()).toMatchObject({ job: { revision: 3 }, cached: true });
});

test('a job that is new, and what a worker writes, cost the cache nothing', async () => {
  const memory = createMemoryJobCache();
  const put = vi.fn((...given: Parameters<JobCache['put']>) => memory.put(...given));
  const { cached, work, read } = setUp({ ...memory, put });
  cached.confirm(performance.now());
  const create = cached.remembering(() => Promise.resolve({ job: states[0]!, events: [events.created()] }));
  await create(JOB, { type: 'RetryJob', userId: USER }, context);
  await work();
  expect(put).not.toHaveBeenCalled();
  expect(await read()).toMatchObject({ job: { revision: 1 }, cached: false });
  await work();
  expect(await memory.get(JOB)).toBeNull();
  expect(await read()).toMatchObject({ job: { revision: 2 }, cached: false });
});

test('a command that found nothing to write leaves the state it found, unless a newer one is known', async () => {
  const { cached, cache, command, stream } = setUp();
  const idle = (revision: number) =>
    cached.remembering(() => Promise.resolve({ job: states[revision]!, events: [] }))(
      JOB,
      { type: 'RetryJob', userId: USER },
      context,
    );
  await command();
  await idle(4);
  expect(await cache.get(JOB)).toEqual(states[4]);
  stream.newest = 5;
  await command();
  await idle(4);
  expect(await cache.get(JOB)).toEqual(states[6]);
});

test('after a failure of the cache nothing comes from it until all that was in it has expired', async () => {
  const memory = createMemoryJobCache();
  let failing = false;
  const { cached, read, command } = setUp({
    ...memory,
    put: (...given) => (failing ? Promise.reject(new Error('connection lost')) : memory.put(...given)),
  });
  const now = vi.spyOn(performance, 'now').mockReturnValue(1_000);
  cached.confirm(1_000);
  await read();
  failing = true;
  await command();
  failing = false;
  expect(await read()).toMatchObject({ job: { revision: 1 }, cached: false });
  now.mockReturnValue(301_000);
  cached.confirm(301_000);
  // What was kept before has run out as well. The cache looks at the clock once a millisecond: until then it may still serve it.
  await vi.waitFor(async () => expect(await read()).toMatchObject({ cached: false }));
  expect(await read()).toMatchObject({ cached: true });
});

type Step =
  | 'command'
  | 'work'
  | 'write elsewhere'
  | 'observe'
  | 'begin a read'
  | 'let a read answer'
  | 'glance'
  | 'evict';
const steps: Step[] = [
  'command',
  'work',
  'write elsewhere',
  'observe',
  'begin a read',
  'let a read answer',
  'glance',
  'evict',
];

/** A cache of one entry: another job's takes its place. */
const evict = (cache: JobCache) => cache.put({ ...states[0]!, id: 'another' }, 60_000);

async function play(step: Step, process: ReturnType<typeof setUp>): Promise<FoundJob | null> {
  switch (step) {
    case 'command':
      await process.command();
      return null;
    case 'work':
      await process.work();
      return null;
    case 'write elsewhere':
      process.writeElsewhere();
      return null;
    case 'observe':
      // The caller knows what comes next.
      return null;
    case 'begin a read':
      void process.cached.jobs.find(JOB, USER);
      return null;
    case 'let a read answer':
      process.release();
      await settled();
      return null;
    case 'glance': {
      const found = await process.glance();
      if (found !== null) expect(found.job).toEqual(states[found.job.revision]);
      return found;
    }
    case 'evict':
      await evict(process.cache);
      return null;
    default:
      return step satisfies never;
  }
}

test('in whatever order things happen, nothing is served that is behind what was acknowledged or observed', async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(fc.constantFrom(...steps), { maxLength: 50, size: 'max' }), async (story) => {
      const subject = setUp(createMemoryJobCache({ maxEntries: 1 }));
      const { cached, stream } = subject;
      // Events of one stream are observed in order, each some time after it was written.
      let observed = 0;
      let atLeast = 0;
      for (const step of story) {
        const found = await play(step, subject);
        if (step === 'command' || step === 'work') atLeast = stream.newest;
        if (step === 'observe' && observed < stream.newest) {
          cached.observe([recorded[++observed]!]);
          atLeast = Math.max(atLeast, observed);
        }
        if (found !== null) expect(found.job.revision).toBeGreaterThanOrEqual(atLeast);
      }
    }),
    { numRuns: 150 },
  );
});

test('two processes that share a cache serve nothing behind what either has answered a user', async () => {
  const story = fc.array(
    fc.tuple(fc.constantFrom(...steps.filter((step) => step !== 'evict')), fc.constantFrom(0, 1)),
    { maxLength: 50, size: 'max' },
  );
  await fc.assert(
    fc.asyncProperty(story, async (told) => {
      const cache = createMemoryJobCache();
      const stream: Stream = { newest: 0 };
      const processes = [setUp(cache, stream), setUp(cache, stream)] as const;
      const observed = [0, 0];
      const heard = [0, 0];
      let answered = 0;
      for (const [step, which] of told as [Step, 0 | 1][]) {
        const process = processes[which];
        const found = await play(step, process);
        if (step === 'command') answered = stream.newest;
        if (step === 'work') heard[which] = stream.newest;
        if (step === 'observe' && observed[which]! < stream.newest) {
          process.cached.observe([recorded[++observed[which]!]!]);
          heard[which] = Math.max(heard[which]!, observed[which]!);
        }
        if (found !== null)
          expect(found.job.revision).toBeGreaterThanOrEqual(Math.max(answered, heard[which]!));
      }
    }),
    { numRuns: 150 },
  );
});
