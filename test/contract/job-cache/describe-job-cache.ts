import { randomUUID } from 'node:crypto';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { JobCache } from '../../../src/cache.ts';
import type { Job } from '../../../src/events/job.ts';
import { newJobState } from '../../support/jobs.ts';
import { eventually } from '../../support/waiting.ts';

export interface CacheUnderTest {
  readonly cache: JobCache;
  dispose(): Promise<void>;
}

const LONG_MS = 60_000;
const job = (given: Partial<Job> = {}): Job => newJobState({ id: randomUUID(), ...given });

/** What every adapter of the job cache has to hold. @param setup called for each case */
export function describeJobCache(name: string, setup: () => Promise<CacheUnderTest>): void {
  describe(`job cache in ${name}`, () => {
    let subject: CacheUnderTest;
    let cache: JobCache;
    beforeEach(async () => {
      subject = await setup();
      ({ cache } = subject);
    });
    afterEach(() => subject.dispose());

    it('has nothing of a job that was never put', async () => {
      expect(await cache.get(randomUUID())).toBeNull();
    });

    it('gives back every field as it was put', async () => {
      const whole = job({
        payload: { text: '😀 \u2028 "\\', deep: { list: [1e300, -0.1, null, true, { '': [] }] } },
        status: 'DONE',
        result: { reportUrl: 'https://example.com/reports/1.pdf' },
        webhookUrl: 'https://example.com/hook',
        dueAt: '2026-05-19T10:00:01.000Z',
        execution: { id: randomUUID(), workerId: 'worker-1', heartbeat: 7 },
        cancelRequested: true,
        revision: 12,
      });
      await cache.put(whole, LONG_MS);
      expect(await cache.get(whole.id)).toEqual(whole);
    });

    it('lets the newer revision win, in whatever order they come', async () => {
      const first = job();
      const second = { ...first, status: 'PROCESSING', revision: 1 } as const;
      await cache.put(second, LONG_MS);
      await cache.put(first, LONG_MS);
      expect(await cache.get(first.id)).toEqual(second);
      await Promise.all([3, 10, 2].map((revision) => cache.put({ ...first, revision }, LONG_MS)));
      expect(await cache.get(first.id)).toMatchObject({ revision: 10 });
    });

    it('keeps jobs apart', async () => {
      const [one, other] = [job({ revision: 5 }), job()];
      await cache.put(one, LONG_MS);
      await cache.put(other, LONG_MS);
      expect(await cache.get(other.id)).toEqual(other);
      await cache.outdate(one.id, 6);
      expect(await cache.get(one.id)).toBeNull();
      expect(await cache.get(other.id)).toEqual(other);
    });

    it('forgets an entry when its time is up, and one that is put again has its time anew', async () => {
      const [brief, renewed] = [job(), job()];
      await cache.put(brief, 50);
      await cache.put(renewed, 50);
      await cache.put(renewed, LONG_MS);
      await eventually(async () => (await cache.get(brief.id)) === null);
      expect(await cache.get(renewed.id)).toEqual(renewed);
    });

    it('lets an outdated state go and takes none in its place but a newer one', async () => {
      const old = job({ revision: 2 });
      await cache.put(old, LONG_MS);
      await cache.outdate(old.id, 4);
      expect(await cache.get(old.id)).toBeNull();
      await cache.put({ ...old, revision: 3 }, LONG_MS);
      expect(await cache.get(old.id)).toBeNull();
      await cache.put({ ...old, revision: 4 }, LONG_MS);
      expect(await cache.get(old.id)).toMatchObject({ revision: 4 });
    });

    it('keeps a state that is as new as what is said of it, or newer', async () => {
      const current = job({ revision: 4 });
      await cache.put(current, LONG_MS);
      await cache.outdate(current.id, 4);
      await cache.outdate(current.id, 3);
      expect(await cache.get(current.id)).toEqual(current);
    });

    it('remembers nothing of a job that it has no state of', async () => {
      const fresh = job();
      await cache.outdate(fresh.id, 7);
      await cache.put(fresh, LONG_MS);
      expect(await cache.get(fresh.id)).toEqual(fresh);
    });

    it('lets what it knows of an outdated state go when the time of that state is up', async () => {
      const brief = job();
      await cache.put(brief, 50);
      await cache.outdate(brief.id, 1);
      await eventually(async () => {
        await cache.put(brief, LONG_MS);
        return (await cache.get(brief.id)) !== null;
      });
    });
  });
}
