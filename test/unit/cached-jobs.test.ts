import fc from 'fast-check';
import { afterEach, expect, test, vi } from 'vitest';
import type { JobCache } from '../../src/cache.ts';
import type { CommandOutcome } from '../../src/commands/handle-command.ts';
import type { JobEvent } from '../../src/events/job.ts';
import type { Job } from '../../src/events/job.ts';
import type { RecordedEvent } from '../../src/events/event-store.ts';
import { createMemoryJobCache } from '../../src/infrastructure/memory/job-cache.ts';
import { createCachedJobs } from '../../src/queries/cached-jobs.ts';
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
const context = { actor: { kind: 'user', id: USER }, correlationId: 'c', causationId: 'c' } as const;

/** A job whose stream grows when told, read by way of a cache. Reads answer when they are let. */
function setUp(cache: JobCache = createMemoryJobCache()) {
  let newest = 0;
  const held: (() => void)[] = [];
  const cached = createCachedJobs({
    cache,
    logger: silentLogger,
    jobs: {
      get(_, userId) {
        const job = states[newest]!;
        return new Promise((resolve) => held.push(() => resolve(job.userId === userId ? job : null)));
      },
      list: () => Promise.resolve({ jobs: [], total: 0 }),
    },
  });
  const write = (): Promise<CommandOutcome> => {
    newest++;
    return Promise.resolve({ job: states[newest]!, events: [events.released(1)] });
  };
  const send = cached.remembering(write);
  return {
    cache,
    cached,
    get newest() {
      return newest;
    },
    /** A command of this process. */
    command: () => send(JOB, { type: 'RetryJob', userId: USER }, context),
    /** A write of another process. */
    writeElsewhere: () => {
      newest++;
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
  await cached.observe([recorded[1]!]);
  expect(await cache.get(JOB)).toEqual(states[1]);
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

test('an event after a gap, and one that cannot be read, empty the entry', async () => {
  const { cached, cache, command } = setUp();
  await command();
  await cached.observe([recorded[3]!]);
  expect(await cache.get(JOB)).toBeNull();
  await command();
  await cached.observe([{ ...recorded[3]!, type: 'JobTeleported' }]);
  expect(await cache.get(JOB)).toBeNull();
});

test('a command that found nothing to write replaces an older state, and fills no empty place', async () => {
  const { cached, cache, command } = setUp();
  const idle = (revision: number) =>
    cached.remembering(() => Promise.resolve({ job: states[revision]!, events: [] }))(
      JOB,
      { type: 'RetryJob', userId: USER },
      context,
    );
  await idle(4);
  expect(await cache.get(JOB)).toBeNull();
  await command();
  await idle(4);
  expect(await cache.get(JOB)).toEqual(states[4]);
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
  // What was kept before has run out as well; whether the cache has noticed depends on its own timer.
  await read();
  expect(await read()).toMatchObject({ cached: true });
});

type Step =
  'command' | 'write elsewhere' | 'observe' | 'begin a read' | 'let a read answer' | 'evict' | 'get';
const steps: Step[] = [
  'command',
  'write elsewhere',
  'observe',
  'begin a read',
  'let a read answer',
  'evict',
  'get',
];

test('in whatever order things happen, the cache is never behind what was acknowledged or observed', async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(fc.constantFrom(...steps), { maxLength: 50, size: 'max' }), async (story) => {
      const subject = setUp();
      const { cached, cache } = subject;
      // Events of one stream are observed in order, each some time after it was written.
      let observed = 0;
      let atLeast = 0;
      for (const step of story) {
        switch (step) {
          case 'command':
            await subject.command();
            atLeast = subject.newest;
            break;
          case 'write elsewhere':
            subject.writeElsewhere();
            break;
          case 'observe':
            if (observed === subject.newest) break;
            observed++;
            await cached.observe([recorded[observed]!]);
            atLeast = Math.max(atLeast, observed);
            break;
          case 'begin a read':
            void cached.jobs.find(JOB, USER);
            break;
          case 'let a read answer':
            subject.release();
            await settled();
            break;
          case 'evict':
            await cache.drop(JOB);
            break;
          case 'get': {
            const kept = await cache.get(JOB);
            if (kept !== null) {
              expect(kept.revision).toBeGreaterThanOrEqual(atLeast);
              expect(kept).toEqual(states[kept.revision]);
            }
            break;
          }
          default:
            step satisfies never;
        }
      }
    }),
    { numRuns: 300 },
  );
});
