import { expect, test } from 'vitest';
import { FollowedJobs, MissedEventError } from '../../src/http/live/followed-jobs.ts';
import type { LiveItem } from '../../src/http/live/live-feed.ts';

const at = (position: number, revision: number, kind: 'job' | 'log' = 'job', jobId = 'a'): LiveItem => ({
  jobId,
  position: BigInt(position),
  kind,
  revision,
  text: '',
});

function following({ last = 0, from = 10 } = {}): FollowedJobs {
  const followed = new FollowedJobs();
  followed.follow('a', { from: BigInt(from), last, sent: followed.sent('a') });
  return followed;
}

test('by id, each revision after the wanted one is taken once', () => {
  const followed = following({ last: 1 });
  expect([at(11, 1), at(12, 2), at(12, 2), at(13, 3)].map((item) => followed.take(item, true))).toEqual([
    false,
    true,
    false,
    true,
  ]);
  expect(followed.take(at(14, 0, 'log'), true)).toBe(true);
  expect(followed.take(at(15, 0, 'job', 'b'), true)).toBe(false);
});

test('a revision that follows none is an error', () => {
  expect(() => following({ last: 1 }).take(at(12, 3), true)).toThrow(MissedEventError);
});

test('by scope, everything after the position is taken', () => {
  const followed = new FollowedJobs();
  followed.followAll(10n);
  expect(followed.take(at(10, 1), true)).toBe(false);
  expect(followed.take(at(11, 2), true)).toBe(true);
  expect(followed.take(at(12, 0, 'log'), true)).toBe(true);
  followed.leaveAll();
  expect(followed.take(at(13, 3), true)).toBe(false);
});

test('a subscription by id keeps nothing from who follows everything', () => {
  const followed = new FollowedJobs();
  followed.followAll(10n);
  expect(followed.take(at(11, 0), true)).toBe(true);
  // The job is at revision 2 already, and the feed has yet to come to it.
  followed.follow('a', { from: 11n, last: 2, sent: followed.sent('a') });
  expect([at(12, 1), at(13, 2), at(14, 3)].map((item) => followed.take(item, true))).toEqual([
    true,
    true,
    true,
  ]);
  followed.leave('a');
  expect(followed.sent('a')).toEqual(new Set([0, 1, 2, 3]));
});

test('what a subscription by id has sent already does not come again by scope', () => {
  const followed = new FollowedJobs();
  followed.followAll(10n);
  const sent = followed.sent('a');
  // Out of the job's own stream, ahead of the feed.
  sent.add(1).add(2);
  followed.follow('a', { from: 11n, last: 2, sent });
  expect([at(12, 1), at(13, 2), at(14, 3), at(14, 3)].map((item) => followed.take(item, true))).toEqual([
    false,
    false,
    true,
    false,
  ]);
});

test('of jobs followed by scope the last 2,000 are remembered', () => {
  const followed = new FollowedJobs();
  followed.followAll(0n);
  for (let n = 1; n <= 2_000; n++) followed.take(at(n, 5, 'job', `job ${n}`), true);
  followed.take(at(2_001, 6, 'job', 'job 1'), true);
  followed.take(at(2_002, 5, 'job', 'job 2001'), true);
  expect(followed.sent('job 1')).toEqual(new Set([5, 6]));
  expect(followed.sent('job 3')).toEqual(new Set([5]));
  expect(followed.sent('job 2')).toEqual(new Set());
});

test('a scan finds only what the client has not had', () => {
  const followed = following({ last: 1, from: 10 });
  followed.take(at(12, 2), true);
  followed.take(at(13, 0, 'log'), true);
  followed.followAll(5n);
  const found = [
    at(6, 0),
    at(7, 1),
    at(8, 0, 'log'),
    at(12, 2),
    at(13, 1, 'log'),
    at(21, 3),
    at(22, 2, 'log'),
  ];
  expect(found.map((item) => followed.takeInScan(item, 20n))).toEqual([
    true,
    true,
    true,
    false,
    false,
    true,
    true,
  ]);
  expect(followed.take(at(23, 4), true)).toBe(true);
});

test('what comes by the id of a job that turns out to be foreign is not sent to who follows everything', () => {
  const followed = new FollowedJobs();
  followed.followAll(10n);
  expect(followed.take(at(11, 0), false)).toBe(false);
  expect(followed.take(at(12, 0, 'log'), false)).toBe(false);
});
