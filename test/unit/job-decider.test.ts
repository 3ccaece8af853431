import { describe, expect, it } from 'vitest';
import {
  backoff,
  decideJob,
  JobAlreadyRunningError,
  JobExistsError,
  JobNotCancellableError,
  JobNotDueError,
  JobNotFoundError,
  JobNotRetryableError,
  MAX_ERROR_BYTES,
  MAX_RESULT_BYTES,
  ResultTooLargeError,
  StaleEntryError,
  StaleExecutionError,
  TooDeeplyNestedError,
} from '../../src/commands/job-decider.ts';
import type { Json } from '../../src/events/job.ts';
import { commands, events, execution, foldJob, given, JOB_ID, NOW } from '../support/job-spec.ts';

const created = events.created();
const started = events.started(1);
const cancelRequested = events.cancelRequested(1);
const nested = (levels: number): Json => (levels === 0 ? 1 : [nested(levels - 1)]);

describe('CreateJob', () => {
  it('creates the job', () => {
    given().when(commands.create()).then(created);
  });
  it('is refused when the job exists', () => {
    given(created).when(commands.create()).thenThrows(JobExistsError, `Job ${JOB_ID} exists already`);
  });
  it('is refused when the payload is nested so deep that it might not be readable again', () => {
    given()
      .when(commands.create({ payload: { a: nested(199) } }))
      .then(events.created({ payload: { a: nested(199) } }));
    given()
      .when(commands.create({ payload: { a: nested(200) } }))
      .thenThrows(TooDeeplyNestedError, 'The payload has more than 200 levels');
  });
});

describe.each([
  commands.start(1),
  commands.complete(1),
  commands.fail(1),
  commands.release(1),
  commands.cancel(),
  commands.finishCancel(),
  commands.retry(),
])('$type', (command) => {
  it('is refused when there is no such job', () => {
    given().when(command).thenThrows(JobNotFoundError, 'Job not found');
  });
});

describe('StartJob', () => {
  it('starts a pending job, with the attempts that its worker brings', () => {
    given(created)
      .when(commands.start(1, { defaultMaxAttempts: 5 }))
      .then(events.started(1, { maxAttempts: 5 }));
  });
  it('leaves the number of attempts to the submission that named one', () => {
    given(events.created({ maxAttempts: 2 }))
      .when(commands.start(1))
      .then(events.started(1, { maxAttempts: 2 }));
  });
  it('has no more attempts than the handler allows, whatever the submission says, and may have fewer', () => {
    given(events.created({ maxAttempts: 100 }))
      .when(commands.start(1, { mostAttempts: 2 }))
      .then(events.started(1, { maxAttempts: 2 }));
    given(events.created({ maxAttempts: 1 }))
      .when(commands.start(1, { mostAttempts: 2 }))
      .then(events.started(1, { maxAttempts: 1 }));
    // Allowed when the first attempt began, and not any more: this one is the last.
    given(created, started, events.attemptFailed(1))
      .when(commands.start(2, { attempt: 2, mostAttempts: 1 }), '2026-05-19T10:00:02.000Z')
      .then(events.started(2, { attempt: 2, maxAttempts: 2 }));
  });
  it('keeps the number of attempts that the first start has set', () => {
    given(created, started, events.attemptFailed(1))
      .when(commands.start(2, { attempt: 2, defaultMaxAttempts: 9 }), '2026-05-19T10:00:02.000Z')
      .then(events.started(2, { attempt: 2, maxAttempts: 3 }));
  });
  it('does nothing when its own start is in the stream already', () => {
    given(created, started).when(commands.start(1)).then();
  });
  it.each([
    ['another round', { round: 2 }],
    ['a later attempt', { attempt: 2 }],
  ])('is refused for %s than the job waits for', (_, entry) => {
    given(created).when(commands.start(1, entry)).thenThrows(StaleEntryError);
  });
  it('is refused for an attempt that has failed', () => {
    given(created, started, events.attemptFailed(1)).when(commands.start(2)).thenThrows(StaleEntryError);
  });
  it.each([
    ['done', [started, events.completed(1)]],
    ['failed', [started, events.failed(1)]],
    ['cancelled', [events.cancelled()]],
  ])('is refused when the job is %s', (_, history) => {
    given(created, ...history)
      .when(commands.start(2))
      .thenThrows(StaleEntryError);
  });
  it('is refused before the job is due, and not from then on', () => {
    const waiting = given(events.created({ runAt: '2026-05-19T10:00:05.000Z' }));
    waiting.when(commands.start(1), '2026-05-19T10:00:04.999Z').thenThrows(JobNotDueError);
    waiting.when(commands.start(1), '2026-05-19T10:00:05.000Z').then(started);
  });
  it('compares due times as times, not as text', () => {
    given(events.created({ runAt: '2026-05-19T10:00:05Z' }))
      .when(commands.start(1), '2026-05-19T10:00:05.500Z')
      .then(started);
  });
  it('is refused while another execution runs', () => {
    given(created, started).when(commands.start(2)).thenThrows(JobAlreadyRunningError);
    given(created, started)
      .when(commands.start(3, { supersedes: execution(2) }))
      .thenThrows(JobAlreadyRunningError);
  });
  it('starts plainly when the dead execution was released in the meantime', () => {
    given(created, started, events.released(1))
      .when(commands.start(2, { supersedes: execution(1) }))
      .then(events.started(2));
  });
});

describe('takeover', () => {
  const takeover = (n: number) => events.started(n, { supersedes: execution(n - 1) });

  it('replaces a dead execution in the same attempt', () => {
    given(created, started)
      .when(commands.start(2, { supersedes: execution(1) }))
      .then(takeover(2));
  });
  it('counts the attempt as failed after the third', () => {
    given(created, started, takeover(2), takeover(3), takeover(4))
      .when(commands.start(5, { supersedes: execution(4) }))
      .then(
        events.attemptFailed(4, { error: 'The worker died while running the job, 4 times in one attempt' }),
      );
  });
  it('fails the job after the third in the last attempt', () => {
    given(
      events.created({ maxAttempts: 1 }),
      events.started(1, { maxAttempts: 1 }),
      events.started(2, { maxAttempts: 1, supersedes: execution(1) }),
      events.started(3, { maxAttempts: 1, supersedes: execution(2) }),
      events.started(4, { maxAttempts: 1, supersedes: execution(3) }),
    )
      .when(commands.start(5, { supersedes: execution(4) }))
      .then(
        events.failed(4, {
          error: 'The worker died while running the job, 4 times in one attempt',
          reason: 'attempts-exhausted',
        }),
      );
  });
  it('starts counting anew in the next attempt', () => {
    const job = foldJob([created, started, takeover(2), events.attemptFailed(2)]);
    expect(job).toMatchObject({ attempt: 2, takeovers: 0 });
  });
  it('cancels instead when that was asked for', () => {
    given(created, started, cancelRequested)
      .when(commands.start(2, { supersedes: execution(1) }))
      .then(events.cancelled());
  });
});

describe('CompleteJob', () => {
  it('completes the current execution', () => {
    given(created, started).when(commands.complete(1)).then(events.completed(1));
  });
  it('takes a result of 256 KiB and none above', () => {
    const text = 'x'.repeat(MAX_RESULT_BYTES - 2);
    given(created, started)
      .when(commands.complete(1, { result: text }))
      .then(events.completed(1, { result: text }));
    given(created, started)
      .when(commands.complete(1, { result: `${text}x` }))
      .thenThrows(ResultTooLargeError);
    given(created, started)
      .when(commands.complete(1, { result: nested(201) }))
      .thenThrows(TooDeeplyNestedError);
  });
});

describe('FailAttempt', () => {
  it('plans the next attempt, each time after twice the wait', () => {
    given(created, started).when(commands.fail(1)).then(events.attemptFailed(1));
    given(created, started, events.attemptFailed(1), events.started(2, { attempt: 2 }))
      .when(commands.fail(2))
      .then(events.attemptFailed(2, { attempt: 2, retryAt: '2026-05-19T10:00:02.000Z' }));
  });
  it('fails the job after the last attempt', () => {
    given(events.created({ maxAttempts: 1 }), events.started(1, { maxAttempts: 1 }))
      .when(commands.fail(1))
      .then(events.failed(1, { reason: 'attempts-exhausted' }));
  });
  it('fails the job at once when trying again is of no use', () => {
    given(created, started)
      .when(commands.fail(1, { retryable: false }))
      .then(events.failed(1));
  });
  it('cuts an error that is too long to be kept', () => {
    const error = keptError('é'.repeat(MAX_ERROR_BYTES));
    expect(Buffer.byteLength(error)).toBeLessThanOrEqual(MAX_ERROR_BYTES);
    expect(error).toMatch(/^é+…$/);
  });
  it('keeps no characters that Postgres cannot hold', () => {
    expect(keptError('a\u0000b\uD800')).toBe('a\uFFFDb\uFFFD');
  });

  function keptError(error: string): string {
    const [event] = decideJob(foldJob([created, started]), commands.fail(1, { error }), NOW);
    return event?.type === 'JobAttemptFailed' ? event.data.error : 'no failed attempt';
  }
});

describe('ReleaseJob', () => {
  it('hands the attempt back uncounted', () => {
    given(created, started).when(commands.release(1)).then(events.released(1));
    expect(foldJob([created, started, events.released(1)])).toMatchObject({
      status: 'PENDING',
      attempt: 1,
      dueAt: null,
      execution: null,
    });
  });
});

describe.each([commands.complete(1), commands.fail(1), commands.release(1)])('fencing: $type', (command) => {
  it('is refused before any start', () => {
    given(created).when(command).thenThrows(StaleExecutionError);
  });
  it('is refused from an execution that was taken over', () => {
    given(created, started, events.started(2, { supersedes: execution(1) }))
      .when(command)
      .thenThrows(StaleExecutionError);
  });
  it.each([
    ['completed', events.completed(1)],
    ['failed', events.failed(1)],
    ['failed for now', events.attemptFailed(1)],
    ['released', events.released(1)],
    ['cancelled', events.cancelled()],
  ])('is refused from an execution that has %s', (_, end) => {
    given(created, started, end).when(command).thenThrows(StaleExecutionError);
  });
  it('ends the job CANCELLED when that was asked for', () => {
    given(created, started, cancelRequested).when(command).then(events.cancelled());
  });
});

describe('CancelJob', () => {
  it('cancels a pending job, a waiting retry included', () => {
    given(created).when(commands.cancel()).then(events.cancelled());
    given(created, started, events.attemptFailed(1))
      .when(commands.cancel())
      .then(events.cancelled({ attempt: 2 }));
  });
  it("answers for another user's job as if there were none", () => {
    given(created)
      .when(commands.cancel({ userId: 'user-2' }))
      .thenThrows(JobNotFoundError);
  });
  it.each([
    ['PROCESSING', [started]],
    ['DONE', [started, events.completed(1)]],
    ['FAILED', [started, events.failed(1)]],
    ['CANCELLED', [events.cancelled()]],
  ])('is refused for a job that is %s', (status, history) => {
    given(created, ...history)
      .when(commands.cancel())
      .thenThrows(
        JobNotCancellableError,
        `Cannot cancel job with status ${status}. Only PENDING jobs can be cancelled.`,
      );
  });
  it('by force asks a running execution to stop, once', () => {
    const force = commands.cancel({ force: true });
    given(created, started).when(force).then(cancelRequested);
    given(created, started, cancelRequested).when(force).then();
    given(created, started, events.completed(1))
      .when(force)
      .thenThrows(JobNotCancellableError, 'Only PENDING and PROCESSING jobs can be cancelled.');
  });
});

describe('FinishCancel', () => {
  it('cancels what was asked to stop', () => {
    given(created, started, cancelRequested).when(commands.finishCancel()).then(events.cancelled());
  });
  it('does nothing without a request, after the end, or for another round', () => {
    given(created, started).when(commands.finishCancel()).then();
    given(created, started, cancelRequested, events.cancelled()).when(commands.finishCancel()).then();
    given(created, started, cancelRequested).when(commands.finishCancel(2)).then();
  });
});

describe('RetryJob', () => {
  it.each([
    ['FAILED', [started, events.failed(1)]],
    ['CANCELLED', [events.cancelled()]],
  ])('begins the next round of a job that is %s', (_, history) => {
    given(created, ...history)
      .when(commands.retry())
      .then(events.retried(2));
    expect(foldJob([created, ...history, events.retried(2)])).toMatchObject({
      status: 'PENDING',
      round: 2,
      attempt: 1,
      takeovers: 0,
      error: null,
      result: null,
      dueAt: null,
      cancelRequested: false,
    });
  });
  it.each([
    ['PENDING', []],
    ['PROCESSING', [started]],
    ['DONE', [started, events.completed(1)]],
  ])('is refused for a job that is %s', (status, history) => {
    given(created, ...history)
      .when(commands.retry())
      .thenThrows(JobNotRetryableError, `Cannot retry job with status ${status}.`);
  });
  it("answers for another user's job as if there were none", () => {
    given(created, events.cancelled())
      .when(commands.retry({ userId: 'user-2' }))
      .thenThrows(JobNotFoundError);
  });
});

describe('a stream', () => {
  it('begins with JobCreated', () => {
    expect(() => foldJob([started])).toThrow("A job's stream begins with JobStarted instead of JobCreated");
  });
  it('keeps when the job was created and when it last changed', () => {
    const job = foldJob([created, started]);
    expect(job).toMatchObject({ createdAt: NOW, updatedAt: NOW, revision: 1 });
  });
});

describe('backoff', () => {
  it('doubles up to an hour', () => {
    expect([1, 2, 3, 4].map((attempt) => backoff(1_000, attempt))).toEqual([1_000, 2_000, 4_000, 8_000]);
    expect(backoff(1_000, 5_000)).toBe(3_600_000);
    expect(backoff(0, 5_000)).toBe(0);
  });
});
