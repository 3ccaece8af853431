import { describe, expect, it } from 'vitest';
import { evolveJob } from '../../src/events/job.ts';
import type { Job, JobEvent } from '../../src/events/job.ts';
import { decodeCursor, encodeCursor } from '../../src/http/live/cursor.ts';
import { jobIdOf, liveMessage } from '../../src/http/live/live-messages.ts';
import { createMeter } from '../../src/http/live/meter.ts';
import { events, execution, JOB_ID, NOW } from '../support/job-spec.ts';

const metadata = {
  schemaVersion: 1,
  correlationId: 'request',
  causationId: 'request',
  actor: { kind: 'system', id: 'test' },
  occurredAt: NOW,
} as const;

/** Every kind of event of a job's own stream, in an order that can be. */
const story: readonly [JobEvent, string][] = [
  [events.created(), 'job:created'],
  [events.started(1), 'job:processing'],
  [events.released(1), 'job:released'],
  [events.started(2), 'job:processing'],
  [events.attemptFailed(2), 'job:retrying'],
  [events.started(3, { attempt: 2 }), 'job:processing'],
  [events.failed(3, { attempt: 2 }), 'job:failed'],
  [events.retried(2), 'job:resubmitted'],
  [events.started(4, { round: 2 }), 'job:processing'],
  [events.cancelRequested(4, { round: 2 }), 'job:cancel-requested'],
  [events.cancelled({ round: 2 }), 'job:cancelled'],
  [events.retried(3), 'job:resubmitted'],
  [events.started(5, { round: 3 }), 'job:processing'],
  [events.completed(5, { round: 3 }), 'job:done'],
];

describe('live messages', () => {
  it('there is one for each event of a job, with the status it leads to', () => {
    let job: Job | null = null;
    for (const [revision, [event, type]] of story.entries()) {
      job = evolveJob(job, { event, occurredAt: NOW, revision });
      const message = liveMessage(event, { stream: `job-${JOB_ID}`, revision, metadata });
      expect(message).toMatchObject({ type, status: job.status, jobId: JOB_ID, revision, at: NOW });
    }
  });

  it('has the documented fields', () => {
    const place = { stream: `job-${JOB_ID}`, revision: 3, metadata };
    expect(liveMessage(events.completed(1), place)).toMatchObject({ result: { sent: true } });
    expect(liveMessage(events.failed(1), place)).toMatchObject({ error: 'boom' });
    expect(liveMessage(events.attemptFailed(1), place)).toMatchObject({
      attempt: 1,
      error: 'boom',
      retryAt: '2026-05-19T10:00:01.000Z',
    });
  });

  it('gives what a handler reports the revision of the log', () => {
    const data = { jobId: JOB_ID, round: 1, attempt: 1, executionId: execution(1) };
    const place = { stream: `jobLog-${JOB_ID}`, revision: 7, metadata };
    expect(liveMessage({ type: 'JobLogged', data: { ...data, message: 'hello' } }, place)).toEqual({
      type: 'job:log',
      message: 'hello',
      jobId: JOB_ID,
      round: 1,
      attempt: 1,
      logRevision: 7,
      at: NOW,
    });
    expect(
      liveMessage({ type: 'JobProgressed', data: { ...data, percent: 50, note: null } }, place),
    ).toMatchObject({ type: 'job:progress', percent: 50, note: null, logRevision: 7 });
    expect(jobIdOf(place)).toBe(JOB_ID);
  });
});

describe('cursors', () => {
  it.each([-1n, 0n, 12_345_678_901n, 2n ** 63n - 1n])('bring %s back', (position) => {
    expect(decodeCursor(encodeCursor(position))).toBe(position);
  });

  it.each(['', 'x', '1.5', ...['2.5', '1.', '1.-2', '1.1e3', `1.${(2n ** 63n).toString()}`].map(base64)])(
    'are not %j',
    (text) => {
      expect(decodeCursor(text)).toBeNull();
    },
  );
});

function base64(text: string): string {
  return Buffer.from(text).toString('base64url');
}

describe('a meter', () => {
  it('lets a burst through, then what comes in with time', () => {
    let now = 0;
    const meter = createMeter({ burst: 3, perSecond: 2 }, () => now);
    expect([1, 2, 3, 4].map(() => meter.take())).toEqual([true, true, true, false]);
    now += 500;
    expect([meter.take(), meter.take()]).toEqual([true, false]);
    now += 60_000;
    expect([1, 2, 3, 4].map(() => meter.take())).toEqual([true, true, true, false]);
  });
});
