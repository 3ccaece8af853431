import type { Random } from '../random.ts';
import type { Link, Stage } from '../stage.ts';
import type { Fault, FaultKind } from './fault.ts';
import { pause, readyToStrike, rounded } from './pausing.ts';

/** How long it may take until something passes whose reply can be lost. */
const TRAFFIC_MS = 60_000;
/** A transaction ends: what a consumer writes is sent at once, with its name and no COMMIT. */
const TRANSACTION = ['COMMIT', 'dispatcher', 'job_logs'];
/** What passes when something has been decided, one or the other of it: the reply to it is the one to lose. */
const COMMITS: Readonly<Record<Link['to'], Readonly<Record<Stage['kind'], readonly [Texts, ...Texts[]]>>>> = {
  postgres: { embedded: [['JobStarted'], ['JobCompleted'], TRANSACTION], distributed: [TRANSACTION] },
  redis: { embedded: [['']], distributed: [['']] },
  'event store': { embedded: [['']], distributed: [['JobCreated'], ['JobStarted'], ['JobCompleted']] },
  api: { embedded: [['POST /api/jobs']], distributed: [['POST /api/jobs']] },
};
type Texts = readonly string[];

type Inflict = (link: Link, signal: AbortSignal) => Promise<void>;

function linkFault(
  random: Random,
  { links }: Stage,
  to: Link['to'],
  fault: { what: string; seconds: number; inflict: Inflict },
): Fault {
  const own = links.filter((one) => one.to === to);
  const link = random.pick(own);
  if (link === undefined) throw new Error(`There is no link to ${to}`);
  return {
    kind: `${fault.what}: ${to}`,
    target: link.name,
    holds: to,
    seconds: fault.seconds,
    async inflict(signal, struck) {
      // The processes at one end may be down themselves: then those at the other are struck.
      const inUse = (): Link | undefined => [link, ...own].find(({ proxy }) => proxy.connections > 0);
      await readyToStrike('no connection', () => inUse() !== undefined, signal);
      const found = inUse() ?? link;
      struck(found.name);
      await fault.inflict(found, signal);
    },
  };
}

/** Something that lasts, and that something has to run into. */
async function lasting({ proxy }: Link, seconds: number, signal: AbortSignal, begin: () => () => void) {
  const before = proxy.received;
  const end = begin();
  try {
    await pause(seconds, signal);
    if (proxy.received === before) throw new Error('Nobody has sent anything meanwhile');
  } finally {
    end();
  }
}

/** Every connection is reset. */
export function reset(to: Link['to']): FaultKind {
  return (random, stage) =>
    linkFault(random, stage, to, {
      what: 'reset',
      seconds: 0,
      inflict({ proxy }) {
        if (proxy.reset() === 0) throw new Error('There was no connection to reset');
        return Promise.resolve();
      },
    });
}

/** Nothing passes, no connection is refused or cut. */
export function blackHole(to: Link['to']): FaultKind {
  return (random, stage) => {
    const seconds = rounded(random.between(3, 8));
    return linkFault(random, stage, to, {
      what: 'black hole',
      seconds,
      inflict: (link, signal) => lasting(link, seconds, signal, () => link.proxy.swallow()),
    });
  };
}

/** The connections there are lead nowhere any more; new ones work. */
export function halfOpen(to: Link['to']): FaultKind {
  return (random, stage) =>
    linkFault(random, stage, to, {
      what: 'half-open',
      seconds: 0,
      inflict({ proxy }) {
        if (proxy.forget() === 0) throw new Error('There was no connection to forget');
        return Promise.resolve();
      },
    });
}

export function latency(to: Link['to']): FaultKind {
  return (random, stage) => {
    const seconds = rounded(random.between(4, 8));
    const milliseconds = Math.round(random.between(50, 400));
    return linkFault(random, stage, to, {
      what: 'latency',
      seconds,
      inflict: (link, signal) => lasting(link, seconds, signal, () => link.proxy.slowDown(milliseconds)),
    });
  };
}

/** Cut after the commit and before its reply. */
export function lostReply(to: Link['to']): FaultKind {
  return (random, stage) => {
    const containing = random.pick(COMMITS[to][stage.kind]);
    return linkFault(random, stage, to, {
      what: 'lost reply',
      seconds: 0,
      async inflict({ proxy }, signal) {
        const late = AbortSignal.timeout(TRAFFIC_MS);
        try {
          await proxy.loseReply(containing, AbortSignal.any([signal, late]));
        } catch {
          signal.throwIfAborted();
          throw new Error(`Nothing with ${containing.join(' or ')} has been answered`);
        }
      },
    });
  };
}
