import { webhookId, webhookStream } from '../../../src/events/webhook.ts';
import type { Command, Outcome } from '../history.ts';
import type { StoredEvent, Streams } from './stored.ts';
import type { Violation } from './violation.ts';

/** What was answered to cancels, retries and redeliveries is in the streams, and nothing else is. */
export function checkCommands(commands: readonly Command[], streams: Streams): Violation[] {
  const toJobs = commands.filter(({ kind }) => kind !== 'redeliver');
  const toWebhooks = commands.filter(({ kind }) => kind === 'redeliver');
  const webhookOf = ({ jobId, round }: Command): string => webhookStream(webhookId(jobId, round ?? 0));
  return [
    ...compare(toJobs, ({ jobId }) => `job-${jobId}`, streams, checkJob),
    ...compare(toWebhooks, webhookOf, streams, checkWebhook),
  ];
}

/** Bounds of how often something may have been done. */
interface Allowed {
  readonly what: string;
  readonly type: string;
  readonly least: number;
  readonly most: number;
}

/** Counts commands of one stream by how they were answered. */
type Count = (outcomes: readonly Outcome[], matches: (command: Command) => boolean) => number;

const OK: readonly Outcome[] = ['ok'];
const MAYBE: readonly Outcome[] = ['ok', 'unknown'];

function checkJob(count: Count): Allowed[] {
  const isCancel = ({ kind }: Command): boolean => kind === 'cancel';
  const isRetry = ({ kind }: Command): boolean => kind === 'retry';
  const isRequest = (one: Command): boolean => isCancel(one) && one.requested;
  const mayBeRequest = (one: Command): boolean => isCancel(one) && (one.requested || one.outcome !== 'ok');
  return [
    { what: 'retries', type: 'JobRetried', least: count(OK, isRetry), most: count(MAYBE, isRetry) },
    {
      what: 'requests to cancel',
      type: 'JobCancelRequested',
      least: Math.min(count(OK, isRequest), 1),
      most: count(MAYBE, mayBeRequest),
    },
    {
      what: 'cancellations',
      type: 'JobCancelled',
      // A handler that has been asked to stop has no other end left, whatever it makes of it.
      least: Math.min(count(OK, isCancel), 1),
      most: count(MAYBE, isCancel),
    },
  ];
}

function checkWebhook(count: Count): Allowed[] {
  const all = (): boolean => true;
  const type = 'WebhookRedeliveryRequested';
  return [{ what: 'redeliveries', type, least: count(OK, all), most: count(MAYBE, all) }];
}

function compare(
  commands: readonly Command[],
  streamOf: (command: Command) => string,
  streams: Streams,
  allowed: (count: Count) => Allowed[],
): Violation[] {
  const asked = new Map<string, Command[]>();
  for (const command of commands) {
    const name = streamOf(command);
    asked.set(name, [...(asked.get(name) ?? []), command]);
  }
  const kinds = new Set(allowed(() => 0).map(({ type }) => type));
  const done = [...streams].filter(([, events]) => events.some(({ event }) => kinds.has(event.type)));
  const names = new Set([...asked.keys(), ...done.map(([name]) => name)]);
  return [...names].flatMap((name) => {
    const own = asked.get(name) ?? [];
    const events: readonly StoredEvent[] = streams.get(name) ?? [];
    const count: Count = (outcomes, matches) =>
      own.filter((one) => outcomes.includes(one.outcome) && matches(one)).length;
    const told = `${name} (${own.map(({ kind, outcome }) => `${kind} ${outcome}`).join(', ')})`;
    return allowed(count).flatMap(({ what, type, least, most }) => {
      const found = events.filter(({ event }) => event.type === type).length;
      if (found >= least && found <= most) return [];
      return [{ promise: 'what was answered was done', particulars: `${told}: ${found} ${what}` }];
    });
  });
}
