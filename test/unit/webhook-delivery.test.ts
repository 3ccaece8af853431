import { createHmac, createSecretKey } from 'node:crypto';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { Json } from '../../src/events/json.ts';
import { Comebacks, DeliverySlots } from '../../src/workers/delivery-slots.ts';
import { webhookBody } from '../../src/workers/webhook-body.ts';
import { slotLimits } from '../../src/workers/webhook-sender.ts';
import { webhookHeaders } from '../../src/workers/webhook-signature.ts';
import { events, foldJob, JOB_ID, NOW } from '../support/job-spec.ts';

const ended = (result: Json) =>
  foldJob([events.created(), events.started(1), events.completed(1, { result })])!;

describe('webhookBody', () => {
  it('is what the contract shows, in its order', () => {
    expect(webhookBody(ended({ sent: true }))).toBe(
      `{"jobId":"${JOB_ID}","type":"send-email","status":"DONE","result":{"sent":true},"timestamp":"${NOW}"}`,
    );
  });

  it('says why a job failed, and only then', () => {
    const failed = foldJob([events.created(), events.started(1), events.failed(1)])!;
    expect(JSON.parse(webhookBody(failed))).toMatchObject({ status: 'FAILED', result: null, error: 'boom' });
    expect(JSON.parse(webhookBody(ended(1)))).not.toHaveProperty('error');
  });

  it('gives the same bytes when a receiver parses and writes it again', () => {
    const results = fc.oneof(
      fc.json().map((text) => JSON.parse(text) as Json),
      fc.string({ unit: 'binary' }),
      fc.constantFrom<Json[]>(
        '\ud800',
        '\u0000',
        { '10': 1, '9': 2, a: 3 },
        JSON.parse('{"__proto__":1}') as Json,
      ),
    );
    fc.assert(
      fc.property(results, (result) => {
        const body = webhookBody(ended(result));
        expect(JSON.stringify(JSON.parse(body))).toBe(body);
        expect(Buffer.from(body).toString()).toBe(body);
      }),
    );
  });
});

describe('webhookHeaders', () => {
  const serviceKey = createSecretKey('the secret of the service', 'utf8');
  const toSign = { id: `${JOB_ID}-1`, body: '{"a":"ü"}', attempt: 2, timestamp: 1_747_648_800 };
  const sign = (key: Buffer, text: string): string => createHmac('sha256', key).update(text).digest('base64');

  it('are those of the contract and of Standard Webhooks', () => {
    const key = Buffer.alloc(32, 7);
    expect(webhookHeaders(toSign, serviceKey, [key])).toEqual({
      'Content-Type': 'application/json',
      'X-Asyncly-Signature': `sha256=${createHmac('sha256', 'the secret of the service').update('{"a":"ü"}').digest('hex')}`,
      'X-Asyncly-Attempt': '2',
      'User-Agent': 'Asyncly-Webhook/1.0',
      'webhook-id': `${JOB_ID}-1`,
      'webhook-timestamp': '1747648800',
      'webhook-signature': `v1,${sign(key, `${JOB_ID}-1.1747648800.{"a":"ü"}`)}`,
    });
  });

  it('sign as the example of the specification does', () => {
    // https://github.com/standard-webhooks/standard-webhooks: the test of its reference libraries.
    const key = Buffer.from('MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw', 'base64');
    const example = { id: 'msg_p5jXN8AQM9LWM0D4loKWxJek', body: '{"test": 2432232314}', attempt: 1 };
    const headers = webhookHeaders({ ...example, timestamp: 1_614_265_330 }, serviceKey, [key]);
    expect(headers['webhook-signature']).toBe('v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=');
  });

  it('carry a signature for each secret in force, and none without any', () => {
    const [one, two] = [Buffer.alloc(32, 1), Buffer.alloc(32, 2)];
    const both = webhookHeaders(toSign, serviceKey, [one, two])['webhook-signature'];
    expect(both?.split(' ')).toHaveLength(2);
    expect(webhookHeaders(toSign, serviceKey, [])).not.toHaveProperty('webhook-signature');
  });
});

describe('slots', () => {
  it('are bounded in all and for each receiver and user', () => {
    const slots = new DeliverySlots({ total: 3, perKey: 2 });
    const first = slots.take(['receiver a', 'user 1']);
    expect(slots.take(['receiver a', 'user 2'])).not.toBeNull();
    expect(slots.take(['receiver a', 'user 3'])).toBeNull();
    expect(slots.take(['receiver b', 'user 1'])).not.toBeNull();
    expect(slots.full).toBe(true);
    expect(slots.take(['receiver c', 'user 4'])).toBeNull();
    first?.();
    expect(slots.take(['receiver a', 'user 3'])).not.toBeNull();
  });

  it('leave jobs at least half of a process, and other receivers half of the rest', () => {
    expect(slotLimits(10)).toEqual({ total: 5, perKey: 3 });
    expect(slotLimits(2)).toEqual({ total: 1, perKey: 1 });
    expect(slotLimits(1)).toEqual({ total: 1, perKey: 1 });
  });

  it('let those that wait come back one after the other, within seconds', () => {
    const comebacks = new Comebacks();
    const waits = Array.from({ length: 1_000 }, () => comebacks.next(0));
    expect(waits.slice(0, 3)).toEqual([200, 225, 250]);
    expect(Math.max(...waits)).toBe(5_000);
    expect(comebacks.next(60_000)).toBe(200);
  });
});
