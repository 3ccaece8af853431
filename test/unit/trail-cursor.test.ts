import fc from 'fast-check';
import { expect, test } from 'vitest';
import { decodeTrailCursor, encodeTrailCursor } from '../../src/http/trail-cursor.ts';
import { MAX_WEBHOOK_ROUNDS, TRAIL_START } from '../../src/queries/job-trail.ts';
import { JOB_ID } from '../support/job-spec.ts';

const revision = fc.nat(2 ** 31 - 1);
const place = fc.record({
  job: revision,
  log: revision,
  webhooks: fc.array(fc.oneof(fc.constant(null), fc.nat(3), revision), { maxLength: 60 }),
});
const OTHER = JOB_ID.replace(/.$/, '2');
const written = (text: string): string => Buffer.from(text).toString('base64url');

test('a cursor says what it was made from, for its own job alone', () => {
  fc.assert(
    fc.property(place, (from) => {
      const cursor = encodeTrailCursor(JOB_ID, from);
      expect(cursor).toMatch(/^[\w-]+$/);
      expect(decodeTrailCursor(JOB_ID, cursor)).toEqual(from);
      expect(decodeTrailCursor(OTHER, cursor)).toBeNull();
    }),
  );
});

test('a cursor of a thousand rounds fits into a URL', () => {
  const alike = { job: 3_000, log: 100_000, webhooks: Array.from({ length: MAX_WEBHOOK_ROUNDS }, () => 4) };
  expect(encodeTrailCursor(JOB_ID, alike).length).toBeLessThan(100);
  const mixed = { ...alike, webhooks: alike.webhooks.map((_, n) => (n % 2 === 0 ? null : n % 7)) };
  expect(encodeTrailCursor(JOB_ID, mixed).length).toBeLessThan(4_000);
  expect(decodeTrailCursor(JOB_ID, encodeTrailCursor(JOB_ID, mixed))).toEqual(mixed);
});

test('what no cursor of ours looks like is none', () => {
  const good = `1.${JOB_ID}.0.0.`;
  expect(decodeTrailCursor(JOB_ID, written(good))).toEqual(TRAIL_START);
  const bad = [
    '',
    'x',
    good,
    `2.${JOB_ID}.0.0.`,
    `1.${JOB_ID}.0.0`,
    `1.${JOB_ID}.0.0..`,
    `1.${JOB_ID}.-1.0.`,
    `1.${JOB_ID}.0.2147483648.`,
    `1.${JOB_ID}.0x1.0.`,
    `1.${JOB_ID}.0.0.1,,2`,
    `1.${JOB_ID}.0.0.--`,
    `1.${JOB_ID}.0.0.2147483648`,
    `1.${JOB_ID}.0.0.0*1001`,
    `1.${JOB_ID}.0.0.${'0*999,'.repeat(1_000)}0`,
    `1.${JOB_ID}.0.0.0*99999999999999999999`,
    `1.${OTHER}.0.0.`,
  ];
  for (const text of bad) {
    if (text !== good) expect(decodeTrailCursor(JOB_ID, written(text))).toBeNull();
    expect(decodeTrailCursor(JOB_ID, text)).toBeNull();
  }
  fc.assert(
    fc.property(fc.string(), (text) => {
      expect(decodeTrailCursor(JOB_ID, text)).toBeNull();
    }),
  );
});
