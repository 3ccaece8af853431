import { z } from 'zod';
import { json, jsonObject, plainText } from './json.ts';
import type { Json } from './json.ts';

export type { Json };

/** Streams of a job: its life, and what its handler reported while it ran. */
export const jobStream = (jobId: string): string => `job-${jobId}`;
export const jobLogStream = (jobId: string): string => `jobLog-${jobId}`;
export const JOB_PREFIX = 'job-';
export const JOB_LOG_PREFIX = 'jobLog-';

const round = z.int().positive();
const attempt = z.int().positive();
const instant = z.iso.datetime();
/** One execution of a handler. Complete, Fail and Release carry it, so that an execution that was replaced changes nothing. */
const executionId = z.uuid();
/** Whether the end is to be delivered to the job's `webhookUrl`. */
const webhook = z.boolean();

/** The stored shapes, newest version of each: what `codec.ts` decodes into. */
export const jobEventSchemas = {
  JobCreated: z.object({
    jobId: z.uuid(),
    userId: plainText,
    type: plainText,
    payload: jsonObject,
    webhookUrl: plainText.nullable(),
    /** The ends that `webhookUrl` is told of. */
    webhookEvents: z.array(z.enum(['DONE', 'FAILED', 'CANCELLED'])),
    /** As asked for with the submission; null leaves it to the handler or the service's default. */
    maxAttempts: z.int().positive().nullable(),
    /** How long an attempt may take; null leaves it to the handler. */
    timeoutMs: z.int().positive().nullable(),
    /** Not to be started before; null means at once. */
    runAt: instant.nullable(),
    /** SHA-256 of the submission, when it came with an Idempotency-Key: what a repetition of it has to match. */
    requestHash: z.hash('sha256').nullable(),
  }),
  JobStarted: z.object({
    /** The job's type again, so that a reader of this event alone knows what started. */
    type: plainText,
    round,
    attempt,
    executionId,
    workerId: plainText,
    /** The worker's heartbeat number when it started: a later heartbeat that lacks the execution proves it ended. */
    heartbeat: z.int().nonnegative(),
    /** The dead execution this one takes over from. */
    supersedes: executionId.nullable(),
    /** Attempts in force from now on. */
    maxAttempts: z.int().positive(),
  }),
  JobReleased: z.object({ round, attempt, executionId, reason: plainText }),
  JobAttemptFailed: z.object({ round, attempt, executionId, error: plainText, retryAt: instant }),
  JobCompleted: z.object({ round, attempt, executionId, result: json, webhook }),
  JobFailed: z.object({
    round,
    attempt,
    executionId,
    error: plainText,
    reason: z.enum(['attempts-exhausted', 'not-retryable']),
    webhook,
  }),
  JobCancelRequested: z.object({ round, executionId }),
  JobCancelled: z.object({ round, attempt, webhook }),
  JobRetried: z.object({ round }),
} as const;

export const jobLogEventSchemas = {
  JobLogged: z.object({ jobId: z.uuid(), round, attempt, executionId, message: z.string() }),
  JobProgressed: z.object({
    jobId: z.uuid(),
    round,
    attempt,
    executionId,
    percent: z.number().min(0).max(100),
    note: z.string().nullable(),
  }),
} as const;

type EventsOf<Schemas extends Record<string, z.ZodType>> = {
  [Type in keyof Schemas & string]: { readonly type: Type; readonly data: Readonly<z.infer<Schemas[Type]>> };
}[keyof Schemas & string];

export type JobEvent = EventsOf<typeof jobEventSchemas>;
export type JobLogEvent = EventsOf<typeof jobLogEventSchemas>;

export const JOB_STATUSES = ['PENDING', 'PROCESSING', 'DONE', 'FAILED', 'CANCELLED'] as const;
export type JobStatus = (typeof JOB_STATUSES)[number];
/** The statuses that a round ends in. */
export type JobEnd = Extract<JobStatus, 'DONE' | 'FAILED' | 'CANCELLED'>;

/** The execution that a PROCESSING job is in. */
export interface Execution {
  readonly id: string;
  readonly workerId: string;
  readonly heartbeat: number;
}

/** What a job's stream amounts to; also what the `jobs` read model and the cache hold. */
export interface Job {
  readonly id: string;
  readonly userId: string;
  readonly type: string;
  readonly payload: Readonly<Record<string, Json>>;
  readonly webhookUrl: string | null;
  readonly webhookEvents: readonly JobEnd[];
  readonly status: JobStatus;
  readonly result: Json;
  /** Why it FAILED, or why the last attempt did. */
  readonly error: string | null;
  /** Counts from 1; a retry by the user begins the next. */
  readonly round: number;
  /** Counts from 1 in each round: the attempt that runs, ran last, or comes next. */
  readonly attempt: number;
  /** Attempts a round has; null until a submission or a start has said so. */
  readonly maxAttempts: number | null;
  /** How long an attempt may take, in milliseconds, as the submission has it. */
  readonly timeoutMs: number | null;
  /** A PENDING job does not start before this; null means at once. */
  readonly dueAt: string | null;
  readonly execution: Execution | null;
  /** How often a dead worker's execution was taken over in this attempt. */
  readonly takeovers: number;
  readonly cancelRequested: boolean;
  readonly createdAt: string;
  readonly updatedAt: string;
  /** Revision of the last event folded in. */
  readonly revision: number;
}

/** One event of a job's stream with what the fold needs of its envelope. */
export interface EvolvableJobEvent {
  readonly event: JobEvent;
  readonly occurredAt: string;
  readonly revision: number;
}

export function isTerminal(status: JobStatus): status is JobEnd {
  return status === 'DONE' || status === 'FAILED' || status === 'CANCELLED';
}

/**
 * The state after one more event. Pure.
 * @param job the state before, null before the first event
 * @throws Error when a stream does not begin with JobCreated
 */
export function evolveJob(job: Job | null, { event, occurredAt, revision }: EvolvableJobEvent): Job {
  if (event.type === 'JobCreated') {
    const { jobId, userId, type, payload, webhookUrl, webhookEvents, maxAttempts, timeoutMs, runAt } =
      event.data;
    return {
      id: jobId,
      userId,
      type,
      payload,
      webhookUrl,
      webhookEvents,
      status: 'PENDING',
      result: null,
      error: null,
      round: 1,
      attempt: 1,
      maxAttempts,
      timeoutMs,
      dueAt: runAt,
      execution: null,
      takeovers: 0,
      cancelRequested: false,
      createdAt: occurredAt,
      updatedAt: occurredAt,
      revision,
    };
  }
  if (job === null) throw new Error(`A job's stream begins with ${event.type} instead of JobCreated`);
  return { ...job, ...changes(job, event), updatedAt: occurredAt, revision };
}

const pending = { status: 'PENDING', execution: null, cancelRequested: false } as const;

function changes(job: Job, event: Exclude<JobEvent, { type: 'JobCreated' }>): Partial<Job> {
  switch (event.type) {
    case 'JobStarted': {
      const { executionId, workerId, heartbeat, supersedes, maxAttempts } = event.data;
      return {
        status: 'PROCESSING',
        execution: { id: executionId, workerId, heartbeat },
        takeovers: supersedes === null ? job.takeovers : job.takeovers + 1,
        maxAttempts,
        dueAt: null,
      };
    }
    case 'JobReleased':
      return pending;
    case 'JobAttemptFailed': {
      const { error, retryAt } = event.data;
      return { ...pending, error, attempt: job.attempt + 1, takeovers: 0, dueAt: retryAt };
    }
    case 'JobCompleted':
      return { ...ended('DONE'), result: event.data.result, error: null };
    case 'JobFailed':
      return { ...ended('FAILED'), error: event.data.error };
    case 'JobCancelRequested':
      return { cancelRequested: true };
    case 'JobCancelled':
      return ended('CANCELLED');
    case 'JobRetried':
      return {
        ...pending,
        result: null,
        error: null,
        round: event.data.round,
        attempt: 1,
        takeovers: 0,
        dueAt: null,
      };
    default:
      return event satisfies never;
  }
}

function ended(status: JobEnd): Partial<Job> {
  return { status, execution: null, cancelRequested: false, dueAt: null };
}
