import { createHmac } from 'node:crypto';
import type { KeyObject } from 'node:crypto';

export interface WebhookToSign {
  /** Stays the same whatever is sent again. */
  readonly id: string;
  /** The exact text of the body. */
  readonly body: string;
  readonly attempt: number;
  /** Seconds since the epoch. */
  readonly timestamp: number;
}

/**
 * The headers of one delivery: the service's own, signed with the service-wide secret, and those of Standard Webhooks
 * (https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md), signed with each of
 * the user's secrets in force.
 */
export function webhookHeaders(
  { id, body, attempt, timestamp }: WebhookToSign,
  serviceKey: KeyObject,
  userKeys: readonly Buffer[],
): Record<string, string> {
  const signed = `${id}.${timestamp}.${body}`;
  const signatures = userKeys.map((key) => `v1,${createHmac('sha256', key).update(signed).digest('base64')}`);
  return {
    'Content-Type': 'application/json',
    'X-Asyncly-Signature': `sha256=${createHmac('sha256', serviceKey).update(body).digest('hex')}`,
    'X-Asyncly-Attempt': String(attempt),
    'User-Agent': 'Asyncly-Webhook/1.0',
    'webhook-id': id,
    'webhook-timestamp': String(timestamp),
    ...(signatures.length > 0 && { 'webhook-signature': signatures.join(' ') }),
  };
}
