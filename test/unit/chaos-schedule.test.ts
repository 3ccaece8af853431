import { expect, it } from 'vitest';
import { drawSchedule } from '../chaos/faults/schedule.ts';
import { planJobs } from '../chaos/job-plan.ts';
import { Random } from '../chaos/random.ts';
import type { Stage } from '../chaos/stage.ts';

const links = (['postgres', 'redis', 'event store', 'api'] as const).flatMap((to) =>
  [1, 2].map((n) => ({ name: `${to}-${n}`, to })),
);
const members = (['api', 'projector', 'dispatcher', 'worker'] as const).flatMap((role) =>
  [1, 2].map((n) => ({ name: `${role}-${n}`, roles: [role] })),
);
/** What the draw looks at: nothing of it is touched before a fault is inflicted. */
const stage = { kind: 'distributed', links, members } as unknown as Stage;

const drawn = (seed: number, seconds: number, only: readonly string[] = []) =>
  drawSchedule(new Random(seed), stage, seconds, only).map(({ fault, at }) => ({
    at,
    kind: fault.kind,
    target: fault.target,
  }));

it('draws the same faults and jobs from the same seed, and others from another', () => {
  expect(drawn(1, 600)).toEqual(drawn(1, 600));
  expect(drawn(1, 600)).not.toEqual(drawn(2, 600));
  const some = (seed: number) => {
    const jobs = planJobs(new Random(seed), 20);
    return Array.from({ length: 200 }, () => jobs.next().value);
  };
  expect(some(1)).toEqual(some(1));
  expect(some(1)).not.toEqual(some(2));
});

it('strikes at everything in ten minutes', () => {
  const kinds = new Set(drawn(3, 600).map(({ kind }) => kind));
  const roles = ['api', 'projector', 'dispatcher', 'worker'];
  const network = ['reset', 'black hole', 'half-open', 'latency', 'lost reply'];
  const wanted = [
    ...roles.flatMap((role) => [`kill -9 ${role}`, `SIGTERM ${role}`, `SIGSTOP ${role}`]),
    ...['postgres', 'redis', 'event store'].flatMap((part) => [
      `kill -9 ${part}`,
      ...network.map((fault) => `${fault}: ${part}`),
    ]),
    'FLUSHALL',
    'redis from an old snapshot',
    'wrong clock of a worker',
    'disk full (ENOSPC)',
    'lost reply: api',
  ];
  expect(wanted.filter((kind) => !kinds.has(kind))).toEqual([]);
});

it('draws what it is asked for alone, and says so when there is no such thing', () => {
  expect(new Set(drawn(1, 120, ['FLUSH', 'snapshot']).map(({ kind }) => kind))).toEqual(
    new Set(['FLUSHALL', 'redis from an old snapshot']),
  );
  expect(() => drawn(1, 120, ['earthquake'])).toThrow('No fault is called earthquake');
});
