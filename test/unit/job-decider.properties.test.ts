import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { decideJob, MAX_TAKEOVERS, StaleExecutionError } from '../../src/commands/job-decider.ts';
import type { JobCommand } from '../../src/commands/job-decider.ts';
import { AppError } from '../../src/errors.ts';
import { decodeEvent, encodeEvent } from '../../src/events/codec.ts';
import { evolveJob, isTerminal } from '../../src/events/job.ts';
import type { Job, JobEvent, JobStatus } from '../../src/events/job.ts';
import { commands, execution, JOB_ID, NOW, USER } from '../support/job-spec.ts';

/**
 * Random stories of one job: several workers that start, report late, twice or never, users that cancel and retry, queue
 * entries out of date, and clocks that jump. Whatever happens, the rules of the state machine hold.
 */
type Step = (job: Job | null) => JobCommand;

const WORKERS = ['worker-1', 'worker-2', 'worker-3'];
/** Executions a story draws from: few enough that the same one comes up again. */
const anExecution = fc.integer({ min: 1, max: 6 });
const often = <T>(arbitrary: fc.Arbitrary<T>, weight: number) => ({ arbitrary, weight });
/** What a step aims at: the execution that runs now, or any. */
const target = fc.oneof(often(fc.constant(null), 3), often(anExecution.map(execution), 1));
const current = (job: Job | null, aimed: string | null): string =>
  aimed ?? job?.execution?.id ?? execution(1);

const startStep: fc.Arbitrary<Step> = fc
  .record({
    n: anExecution,
    workerId: fc.constantFrom(...WORKERS),
    heartbeat: fc.nat(100),
    roundOff: fc.oneof(often(fc.constant(0), 12), often(fc.integer({ min: -1, max: 1 }), 1)),
    attemptOff: fc.oneof(often(fc.constant(0), 12), often(fc.integer({ min: -1, max: 1 }), 1)),
    supersedes: fc.oneof(
      often(fc.constant('current' as const), 4),
      often(fc.constant(null), 1),
      often(anExecution.map(execution), 1),
    ),
    defaultMaxAttempts: fc.integer({ min: 1, max: 4 }),
    mostAttempts: fc.option(fc.integer({ min: 1, max: 4 })),
    backoffMs: fc.constantFrom(0, 1, 1_000),
  })
  .map(({ n, roundOff, attemptOff, supersedes, mostAttempts, ...rest }): Step => {
    return (job) =>
      commands.start(n, {
        round: Math.max(1, (job?.round ?? 1) + roundOff),
        attempt: Math.max(1, (job?.attempt ?? 1) + attemptOff),
        supersedes: supersedes === 'current' ? (job?.execution?.id ?? null) : supersedes,
        ...(mostAttempts !== null && { mostAttempts }),
        ...rest,
      });
  });

const completeStep = fc.record({ aimed: target, result: fc.jsonValue() }).map(({ aimed, result }): Step => {
  return (job) => ({
    type: 'CompleteJob',
    executionId: current(job, aimed),
    result: JSON.parse(JSON.stringify(result)) as Job['result'],
  });
});
const failStep = fc
  .record({
    aimed: target,
    error: fc.string(),
    retryable: fc.constantFrom(true, true, true, false),
    backoffMs: fc.nat(5_000),
  })
  .map(({ aimed, ...rest }): Step => {
    return (job) => ({ type: 'FailAttempt', executionId: current(job, aimed), ...rest });
  });
const releaseStep = fc.record({ aimed: target, reason: fc.string() }).map(({ aimed, reason }): Step => {
  return (job) => ({ type: 'ReleaseJob', executionId: current(job, aimed), reason });
});
const cancelStep = fc
  .record({ userId: fc.constantFrom(USER, USER, 'someone-else'), force: fc.boolean() })
  .map(
    (ask): Step =>
      () =>
        commands.cancel(ask),
  );
const finishStep = fc.boolean().map(
  (right): Step =>
    (job) =>
      commands.finishCancel((job?.round ?? 1) + (right ? 0 : 1)),
);
const retryStep = fc.constantFrom(USER, USER, USER, 'someone-else').map(
  (userId): Step =>
    () =>
      commands.retry({ userId }),
);
const otherStep: fc.Arbitrary<Step> = fc.oneof(
  often(completeStep, 1),
  often(failStep, 5),
  often(releaseStep, 1),
  often(cancelStep, 1),
  often(finishStep, 1),
  often(retryStep, 3),
);

const createStep: fc.Arbitrary<Step> = fc
  .record({
    maxAttempts: fc.option(fc.integer({ min: 1, max: 4 }), { freq: 2 }),
    runAt: fc.option(fc.constantFrom('2026-05-19T10:00:03Z', '2026-05-19T10:00:03.250Z'), { freq: 4 }),
  })
  .map(
    (ask): Step =>
      () =>
        commands.create(ask),
  );

const story = fc.record({
  create: createStep,
  steps: fc.array(
    fc.record({
      step: fc.oneof(often(startStep, 10), often(otherStep, 8), often(createStep, 1)),
      /** Milliseconds the clock moves before the step; also backwards. */
      tick: fc.integer({ min: -3_000, max: 10_000 }),
    }),
    { maxLength: 60, size: 'max' },
  ),
});

interface Moment {
  readonly before: Job | null;
  readonly command: JobCommand;
  readonly now: string;
  readonly decided: readonly JobEvent[] | AppError;
  readonly after: Job | null;
}

/** Plays a story as `handle-command` would: decide, fold what was decided, go on. */
function play({ create, steps }: typeof story extends fc.Arbitrary<infer Story> ? Story : never): Moment[] {
  const moments: Moment[] = [];
  let job: Job | null = null;
  let clock = Date.parse(NOW);
  for (const { step, tick } of [{ step: create, tick: 0 }, ...steps]) {
    clock += tick;
    const before: Job | null = deepFreeze(job);
    const command = deepFreeze(step(before));
    const now = new Date(Math.max(clock, Date.parse(before?.updatedAt ?? NOW))).toISOString();
    const decided = attempt(() => decideJob(before, command, now));
    for (const event of decided instanceof AppError ? [] : decided) {
      job = evolveJob(job, {
        event: deepFreeze(event),
        occurredAt: now,
        revision: (job?.revision ?? -1) + 1,
      });
    }
    moments.push({ before, command, now, decided, after: job });
  }
  return moments;
}

function attempt(decide: () => JobEvent[]): JobEvent[] | AppError {
  try {
    return decide();
  } catch (error) {
    // Anything but a refusal that the domain knows is a bug.
    if (!(error instanceof AppError)) throw error;
    return error;
  }
}

function deepFreeze<T>(value: T): T {
  if (typeof value === 'object' && value !== null && !Object.isFrozen(value)) {
    Object.freeze(value);
    Object.values(value).forEach(deepFreeze);
  }
  return value;
}

const eventsOf = (moments: readonly Moment[]): JobEvent[] =>
  moments.flatMap(({ decided }) => (decided instanceof AppError ? [] : [...decided]));

/** Holds for every story. */
function always(check: (moments: readonly Moment[]) => void): void {
  fc.assert(
    fc.property(story, (told) => check(play(told))),
    { numRuns: 400 },
  );
}

const ENDS = ['JobCompleted', 'JobFailed', 'JobCancelled'];
const EDGES: Readonly<Record<JobStatus, readonly JobStatus[]>> = {
  PENDING: ['PROCESSING', 'CANCELLED'],
  PROCESSING: ['PROCESSING', 'PENDING', 'DONE', 'FAILED', 'CANCELLED'],
  DONE: [],
  FAILED: ['PENDING'],
  CANCELLED: ['PENDING'],
};

describe('whatever happens to a job', () => {
  it('a round ends once at most', () => {
    always((moments) => {
      let ends = 0;
      for (const event of eventsOf(moments)) {
        if (event.type === 'JobRetried') ends = 0;
        if (ENDS.includes(event.type)) ends += 1;
        expect(ends).toBeLessThanOrEqual(1);
      }
    });
  });

  it('only the edges of the state machine are taken', () => {
    always((moments) => {
      for (const { before, decided, after } of moments) {
        if (before === null || decided instanceof AppError || decided.length === 0) continue;
        expect(EDGES[before.status]).toContain(after?.status);
      }
    });
  });

  it('a round has no more attempts than it was given, and no attempt more than three takeovers', () => {
    always((moments) => {
      for (const { after } of moments) {
        if (after === null) continue;
        if (after.maxAttempts !== null) expect(after.attempt).toBeLessThanOrEqual(after.maxAttempts);
        expect(after.takeovers).toBeLessThanOrEqual(MAX_TAKEOVERS);
      }
    });
  });

  it('an execution that is not the current one changes nothing', () => {
    always((moments) => {
      for (const { before, command, decided } of moments) {
        const reports = ['CompleteJob', 'FailAttempt', 'ReleaseJob'].includes(command.type);
        if (before === null || !reports || !('executionId' in command)) continue;
        if (before.execution?.id === command.executionId) expect(decided).not.toBeInstanceOf(AppError);
        else expect(decided).toBeInstanceOf(StaleExecutionError);
      }
    });
  });

  it('nobody takes over without naming the execution that runs', () => {
    always((moments) => {
      for (const { before, command, decided } of moments) {
        if (before?.execution == null || command.type !== 'StartJob' || decided instanceof AppError) continue;
        if (decided.length > 0) expect(command.supersedes).toBe(before.execution.id);
      }
    });
  });

  it('a round that was asked to stop ends CANCELLED or not yet', () => {
    always((moments) => {
      let asked = false;
      for (const event of eventsOf(moments)) {
        if (event.type === 'JobRetried') asked = false;
        if (asked) expect(event.type).toBe('JobCancelled');
        if (event.type === 'JobCancelled') asked = false;
        if (event.type === 'JobCancelRequested') asked = true;
      }
    });
  });

  it('nothing starts before it is due', () => {
    always((moments) => {
      for (const { before, now, decided } of moments) {
        if (decided instanceof AppError || decided[0]?.type !== 'JobStarted' || !before?.dueAt) continue;
        expect(Date.parse(now)).toBeGreaterThanOrEqual(Date.parse(before.dueAt));
      }
    });
  });

  it('a start that is repeated with the same execution does nothing', () => {
    always((moments) => {
      for (const { command, now, decided, after } of moments) {
        if (decided instanceof AppError || decided[0]?.type !== 'JobStarted') continue;
        expect(decideJob(after, command, now)).toEqual([]);
      }
    });
  });

  it('an end stands until the owner asks for another round', () => {
    always((moments) => {
      for (const { before, command, decided } of moments) {
        if (before === null || !isTerminal(before.status) || decided instanceof AppError) continue;
        if (decided.length > 0) expect(command).toEqual({ type: 'RetryJob', userId: before.userId });
      }
    });
  });

  it('a job is PROCESSING exactly while it has an execution', () => {
    always((moments) => {
      for (const { after } of moments) {
        if (after === null) continue;
        expect(after.status === 'PROCESSING').toBe(after.execution !== null);
        if (after.cancelRequested) expect(after.status).toBe('PROCESSING');
      }
    });
  });

  it('the same state, command and time give the same answer', () => {
    always((moments) => {
      for (const { before, command, now, decided } of moments) {
        const again = attempt(() => decideJob(before, command, now));
        if (decided instanceof AppError)
          expect(again).toMatchObject({ code: decided.code, data: decided.data });
        else expect(again).toEqual(decided);
      }
    });
  });

  it('the stored events fold to the same state', () => {
    always((moments) => {
      let job: Job | null = null;
      for (const { decided, now, after } of moments) {
        for (const event of decided instanceof AppError ? [] : decided) {
          job = throughTheStore(job, event, now);
        }
        expect(job).toEqual(after);
      }
    });
  });
});

/** One event written as JSON, read back and folded in. */
function throughTheStore(job: Job | null, event: JobEvent, occurredAt: string): Job {
  const revision = (job?.revision ?? -1) + 1;
  const actor = { kind: 'system', id: 'test' } as const;
  const encoded = encodeEvent(event, execution(99), {
    correlationId: 'c',
    causationId: 'c',
    actor,
    occurredAt,
  });
  const stored = JSON.parse(JSON.stringify(encoded)) as typeof encoded;
  const decoded = decodeEvent({ ...stored, stream: `job-${JOB_ID}`, revision });
  return evolveJob(job, { event: decoded as JobEvent, occurredAt, revision });
}
