import { createHmac, timingSafeEqual } from 'node:crypto';
import type { JobEnd, JobEvent } from '../../../src/events/job.ts';
import { webhookId } from '../../../src/events/webhook.ts';
import type { Streams } from './stored.ts';
import type { Violation } from './violation.ts';

/** A request that a receiver got. */
export interface Delivery {
  readonly id: string;
  readonly timestamp: string;
  readonly serviceSignature: string;
  /** Those of Standard Webhooks, as the header has them. */
  readonly userSignatures: string;
  readonly body: string;
  /** Whether it was answered 2xx. */
  readonly taken: boolean;
}

export interface ExpectedWebhook {
  readonly id: string;
  readonly userId: string;
}

const ENDS: Partial<Record<string, JobEnd>> = {
  JobCompleted: 'DONE',
  JobFailed: 'FAILED',
  JobCancelled: 'CANCELLED',
} satisfies Partial<Record<JobEvent['type'], JobEnd>>;

/**
 * Every end of a round that somebody asked to be told of, as the submission has it: whether the end's own event says that it
 * is to be told is the service's opinion, and a service that tells nobody would be right by it.
 */
export function expectedWebhooks(streams: Streams): ExpectedWebhook[] {
  return [...streams.values()].flatMap((events) => {
    const created = events[0]?.event;
    if (created?.type !== 'JobCreated' || created.data.webhookUrl === null) return [];
    const { jobId, userId, webhookEvents } = created.data;
    return events.flatMap(({ event }) => {
      const end = ENDS[event.type];
      if (end === undefined || !webhookEvents.includes(end) || !('round' in event.data)) return [];
      return [{ id: webhookId(jobId, event.data.round), userId }];
    });
  });
}

export interface WebhookEvidence {
  /** One for each end of a round that is to be told. */
  readonly expected: readonly ExpectedWebhook[];
  readonly deliveries: readonly Delivery[];
  /** Secrets in force, by user. */
  readonly secrets: ReadonlyMap<string, readonly Buffer[]>;
  readonly serviceSecret: string;
}

/** Each webhook was taken at least once, nothing else came, all signatures are good and a webhook's bytes never change. */
export function checkWebhooks(evidence: WebhookEvidence): Violation[] {
  const { expected, deliveries, secrets, serviceSecret } = evidence;
  const owners = new Map(expected.map(({ id, userId }) => [id, userId]));
  const taken = new Set(deliveries.filter((one) => one.taken).map(({ id }) => id));
  const bodies = new Map<string, string>();
  const violations = expected
    .filter(({ id }) => !taken.has(id))
    .map(({ id }) => ({
      promise: 'every webhook is delivered',
      particulars: `webhook ${id} was never taken`,
    }));
  for (const delivery of deliveries) {
    const { id, body } = delivery;
    const owner = owners.get(id);
    if (owner === undefined) {
      violations.push({ promise: 'webhooks tell of ends', particulars: `webhook ${id} tells of no end` });
      continue;
    }
    if (!hasGoodSignatures(delivery, secrets.get(owner) ?? [], serviceSecret)) {
      violations.push({ promise: 'webhooks are signed', particulars: `webhook ${id} has a bad signature` });
    }
    const first = bodies.get(id);
    if (first === undefined) bodies.set(id, body);
    else if (first !== body) {
      violations.push({
        promise: 'a webhook is the same at every attempt',
        particulars: `webhook ${id}: ${first} and then ${body}`,
      });
    }
  }
  return violations;
}

function hasGoodSignatures(delivery: Delivery, keys: readonly Buffer[], serviceSecret: string): boolean {
  const { id, timestamp, body, serviceSignature, userSignatures } = delivery;
  const service = `sha256=${createHmac('sha256', serviceSecret).update(body).digest('hex')}`;
  const given = userSignatures.split(' ');
  return (
    isSame(serviceSignature, service) &&
    keys.some((key) => {
      const wanted = createHmac('sha256', key).update(`${id}.${timestamp}.${body}`).digest('base64');
      return given.some((signature) => isSame(signature, `v1,${wanted}`));
    })
  );
}

function isSame(given: string, wanted: string): boolean {
  const [one, other] = [Buffer.from(given), Buffer.from(wanted)];
  return one.length === other.length && timingSafeEqual(one, other);
}
