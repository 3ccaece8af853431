import type { Random } from '../random.ts';
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
  restarted('projector'),
  restarted('dispatcher'),
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
  /** Seconds of peace before it. */
  readonly after: number;
}

/** Seconds of peace between two faults: mostly less than it takes to get over one. */
const PEACE = [0.5, 4] as const;
/** Seconds that a fault needs besides its own time. */
const OVERHEAD = 1;

/**
 * Draws faults that take so long together. Every kind comes once before any comes again.
 * @param only parts of names of kinds; empty for all
 */
export function drawSchedule(random: Random, stage: Stage, seconds: number, only: readonly string[]): Scheduled[] {
  const kinds = stage.kind === 'distributed' ? [...everywhere, ...distributedOnly] : everywhere;
  const schedule: Scheduled[] = [];
  let deck: FaultKind[] = [];
  for (let [left, unwanted] = [seconds, 0]; left > 0; ) {
    if (deck.length === 0) deck = random.shuffled(kinds);
    const fault = deck.shift()!(random, stage);
    if (only.length > 0 && !only.some((part) => fault.kind.includes(part))) {
      if (++unwanted > 2 * kinds.length) throw new Error(`No fault is called ${only.join(' or ')}`);
      continue;
    }
    unwanted = 0;
    const after = rounded(random.between(...PEACE));
    left -= after + fault.seconds + OVERHEAD;
    if (left > 0) schedule.push({ fault, after });
  }
  return schedule;
}
