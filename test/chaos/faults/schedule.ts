import { Random } from '../random.ts';
import type { Stage } from '../stage.ts';
import type { Fault, FaultKind } from './fault.ts';
import { blackHole, halfOpen, latency, lostReply, reset } from './links.ts';
import {
  diskFull,
  eventStoreKilled,
  eventStoreStopped,
  postgresKilled,
  redisFlushed,
  redisKilled,
  redisRestored,
  redisStopped,
} from './parts.ts';
import { rounded } from './pausing.ts';
import { killed, restarted, stopped, wrongClock } from './processes.ts';

const network = [reset, blackHole, halfOpen, latency, lostReply] as const;

/** Everything that can go wrong with both deployments. */
const everywhere: readonly FaultKind[] = [
  killed('worker'),
  restarted('worker'),
  stopped('worker'),
  wrongClock,
  postgresKilled,
  diskFull,
  ...network.map((fault) => fault('postgres')),
  ...[reset, blackHole, lostReply].map((fault) => fault('api')),
];

/** What there is only where each role has processes of its own, and Redis and EventStoreDB are in use. */
const distributedOnly: readonly FaultKind[] = [
  ...(['api', 'projector', 'dispatcher'] as const).flatMap((role) => [killed(role), stopped(role)]),
  ...(['api', 'projector', 'dispatcher'] as const).map(restarted),
  redisKilled,
  redisStopped,
  redisFlushed,
  redisRestored,
  eventStoreKilled,
  eventStoreStopped,
  ...network.map((fault) => fault('redis')),
  ...network.map((fault) => fault('event store')),
];

export interface Scheduled {
  readonly fault: Fault;
  /** Seconds since the load began, at the earliest: it waits for whatever strikes at the same thing. */
  readonly at: number;
}

/** Seconds from one fault to the next: mostly less than it takes to get over one. */
const BETWEEN = [1, 10] as const;

/**
 * Draws the faults of so many seconds. Every kind comes once before any comes again.
 * @param only parts of names of kinds; empty for all
 */
export function drawSchedule(
  random: Random,
  stage: Stage,
  seconds: number,
  only: readonly string[],
): Scheduled[] {
  const all = stage.kind === 'distributed' ? [...everywhere, ...distributedOnly] : everywhere;
  const isWanted = (kind: FaultKind): boolean =>
    only.length === 0 || only.some((part) => kind(new Random(0), stage).kind.includes(part));
  const kinds = all.filter(isWanted);
  if (kinds.length === 0) throw new Error(`No fault is called ${only.join(' or ')}`);
  const schedule: Scheduled[] = [];
  let deck: FaultKind[] = [];
  for (let at = random.between(...BETWEEN); at < seconds; at += random.between(...BETWEEN)) {
    if (deck.length === 0) deck = random.shuffled(kinds);
    const fault = deck.shift()!(random, stage);
    // Not at the very end: what lasts ends with the load.
    schedule.push({ fault, at: rounded(Math.max(0, Math.min(at, seconds - fault.seconds))) });
  }
  return schedule.sort((one, other) => one.at - other.at);
}
