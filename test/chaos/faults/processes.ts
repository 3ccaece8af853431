import type { Role } from '../../../src/config.ts';
import type { Member } from '../member.ts';
import type { Random } from '../random.ts';
import type { Stage } from '../stage.ts';
import type { Fault, FaultKind } from './fault.ts';
import { pause, rounded } from './pausing.ts';

/** Longer than a lease (5 s), and for who runs jobs longer than its heartbeat counts (10 s) and than its locks in the queue. */
const STOPPED_FOR: Readonly<Record<Role, readonly [number, number]>> = {
  api: [3, 5],
  projector: [6, 9],
  dispatcher: [6, 9],
  worker: [12, 15],
};
/** Within what machines without a time server come to, and what the service allows a token's issuer. */
const CLOCK_OFF = [10, 40] as const;

const withRole = ({ members }: Stage, role: Role): readonly Member[] =>
  members.filter(({ roles }) => roles.includes(role));

function target(random: Random, stage: Stage, role: Role): Member {
  const member = random.pick(withRole(stage, role));
  if (member === undefined) throw new Error(`No process has the role ${role}`);
  return member;
}

/** A process with all roles is named as what it is. */
const nameOf = ({ roles }: Member): string => (roles.length > 1 ? 'service' : roles.join());

/** The one that starts it again does not wait: what comes next may find it still starting. */
function startAgain(member: Member, clockOffsetMs?: number): void {
  member.start(clockOffsetMs).catch(() => undefined);
}

/** kill -9 of a process with this role, and a new one in its place. */
export function killed(role: Role): FaultKind {
  return (random, stage): Fault => {
    const member = target(random, stage, role);
    return {
      kind: `kill -9 ${nameOf(member)}`,
      target: member.name,
      holds: member.name,
      seconds: 0,
      async inflict() {
        await member.up();
        await member.end('SIGKILL');
        startAgain(member);
      },
    };
  };
}

/** An orderly stop, and a new process in its place. */
export function restarted(role: Role): FaultKind {
  return (random, stage): Fault => {
    const member = target(random, stage, role);
    return {
      kind: `SIGTERM ${nameOf(member)}`,
      target: member.name,
      holds: member.name,
      seconds: 0,
      async inflict() {
        await member.up();
        await member.end('SIGTERM');
        startAgain(member);
      },
    };
  };
}

/** SIGSTOP for longer than the process's leases, locks and heartbeat last. */
export function stopped(role: Role): FaultKind {
  return (random, stage): Fault => {
    const member = target(random, stage, role);
    const seconds = rounded(random.between(...STOPPED_FOR[role]));
    return {
      kind: `SIGSTOP ${nameOf(member)}`,
      target: member.name,
      holds: member.name,
      seconds,
      async inflict(signal) {
        await member.up();
        await member.suspend();
        try {
          await pause(seconds, signal);
        } finally {
          member.resume();
        }
      },
    };
  };
}

/** A worker whose clock is wrong. */
export const wrongClock: FaultKind = (random, stage): Fault => {
  const [least, most] = CLOCK_OFF;
  const off = Math.round(random.between(least, most)) * (random.chance(0.5) ? 1 : -1);
  const workers = withRole(stage, 'worker');
  // The one that owns the embedded Postgres has enough to do with that.
  const member = workers.at(-1)!;
  const seconds = rounded(random.between(6, 12));
  return {
    kind: `wrong clock of a ${nameOf(member)}`,
    target: `${member.name} by ${off} s`,
    holds: member.name,
    seconds,
    async inflict(signal) {
      await member.up();
      await member.end('SIGTERM');
      await member.start(off * 1_000);
      try {
        if (!member.hasSaid('The clock is off by')) throw new Error('Its clock is right');
        await pause(seconds, signal);
      } finally {
        await member.end('SIGTERM');
        startAgain(member);
      }
    },
  };
};
