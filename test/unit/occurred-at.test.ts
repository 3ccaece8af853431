import { expect, it } from 'vitest';
import { occurredAt } from '../../src/audit/occurred-at.ts';

it.each([
  ['2026-05-19T10:00:00.000Z', '2026-05-19T10:00:00.000Z'],
  ['2024-02-29T23:59:59Z', '2024-02-29T23:59:59.000Z'],
  ['0001-01-01T00:00:00.123456789Z', '0001-01-01T00:00:00.123Z'],
])('knows the time %s', (text, time) => {
  expect(occurredAt({ metadata: { occurredAt: text } })?.toISOString()).toBe(time);
});

it.each([
  '2026-02-30T10:00:00.000Z',
  '2026-13-01T10:00:00.000Z',
  '2026-05-19T24:00:00.000Z',
  '2026-05-19T23:59:60.000Z',
  '2026-05-19T10:00:00.000+00:00',
  '2026-05-19 10:00:00Z',
  '0000-05-19T10:00:00Z',
  '+012026-05-19T10:00:00Z',
  '2026-05-19T10:00:00Z\n',
  '',
  7,
  null,
])('knows no time in %j', (text) => {
  expect(occurredAt({ metadata: { occurredAt: text } })).toBeNull();
});

it.each([undefined, null, 'text', [], {}])('knows no time in the metadata %j', (metadata) => {
  expect(occurredAt({ metadata })).toBeNull();
});
