import { randomUUID } from 'node:crypto';
import { v7 as uuidv7 } from 'uuid';
import { expect, test } from 'vitest';
import { jobLogStream, jobStream } from '../../src/events/job.ts';
import { isOwnStream, STREAM_PREFIXES } from '../../src/events/streams.ts';
import { webhookId, webhookStream } from '../../src/events/webhook.ts';

const id = uuidv7();

test.each([
  jobStream(id),
  jobStream(randomUUID()),
  jobLogStream(id),
  webhookStream(webhookId(id, 1)),
  webhookStream(webhookId(id, 2_147_483_647)),
])('is ours: %s', (name) => {
  expect(isOwnStream(name)).toBe(true);
  expect(STREAM_PREFIXES.filter((prefix) => name.startsWith(prefix))).toHaveLength(1);
});

test.each([
  '',
  id,
  'job',
  'job-',
  'job-1',
  `Job-${id}`,
  `joblog-${id}`,
  `xjob-${id}`,
  `$job-${id}`,
  `job-${id.toUpperCase()}`,
  `job-{${id}}`,
  `job-${id.replaceAll('-', '')}`,
  `job-${id} `,
  `job-${id}\n`,
  `job-${id}-1`,
  `job-${id.slice(1)}`,
  'job-00000000-0000-0000-0000-000000000000',
  'job-ffffffff-ffff-ffff-ffff-ffffffffffff',
  `jobLog-${id}-1`,
  'jobLog-1',
  'webhook-stripe',
  `webhook-${id}`,
  `webhook-${id}-`,
  `webhook-${id}-0`,
  `webhook-${id}-01`,
  `webhook-${id}--1`,
  `webhook-${id}-1.5`,
  `webhook-${id}-first`,
  `webhook-${id}-99999999999`,
])('is not ours: %j', (name) => {
  expect(isOwnStream(name)).toBe(false);
});
