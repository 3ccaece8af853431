import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { PositionedEvent } from '../../src/events/event-store.ts';
import type { Page, PageRequest } from '../../src/infrastructure/postgres/event-store-pages.ts';
import { createTail } from '../../src/infrastructure/postgres/event-store-tail.ts';
import { subscribeToPages } from '../../src/infrastructure/postgres/event-store-subscription.ts';
import { createPulse } from '../../src/infrastructure/postgres/pulse.ts';
import { silentLogger } from '../support/database.ts';

const UNBOUNDED = { burst: Infinity, everyMs: 1 };

/** A log whose pages are read as the statement reads them; each event counts as `bytes`. */
function createLog({ bytes = 1 }: { bytes?: number } = {}) {
  const events: PositionedEvent[] = [];
  const reads: PageRequest[] = [];
  return {
    reads,
    append(stream: string): void {
      const last = events.at(-1)?.position ?? -1n;
      const metadata = {
        schemaVersion: 1,
        correlationId: '',
        causationId: '',
        actor: { kind: 'system', id: '' },
        occurredAt: '',
      } as const;
      // Holes in the positions mean nothing.
      events.push({ stream, position: last + 2n, revision: 0, id: '', type: 'T', data: {}, metadata });
    },
    page({ after, prefixes, limit, scan }: PageRequest): Page {
      const seen = events.filter(({ position }) => position > after).slice(0, scan);
      const wanted = seen.filter(
        ({ stream }) => prefixes.length === 0 || prefixes.some((prefix) => stream.startsWith(prefix)),
      );
      const taken = wanted.slice(0, limit);
      const size = { bytes: taken.length * bytes };
      if (taken.length === limit)
        return { after, events: taken, position: taken.at(-1)!.position, atHead: false, ...size };
      return {
        after,
        events: taken,
        position: seen.at(-1)?.position ?? after,
        atHead: seen.length < scan,
        ...size,
      };
    },
    read(request: PageRequest): Promise<Page> {
      reads.push(request);
      const page = this.page(request);
      return Promise.resolve(page);
    },
  };
}

const everything = { prefixes: [], limit: 500, scan: 500 };

it('is at its end for a subscriber only where the log ended when that one came, whoever asked for the page', async () => {
  const log = createLog();
  log.append('a-1');
  const before = log.page({ after: -1n, ...everything });
  log.append('a-1');
  const pages = [before];
  const pulse = createPulse(UNBOUNDED);
  const stopping = new AbortController();
  const messages = subscribeToPages(
    {
      database: {
        query: <Row>() => Promise.resolve({ rows: [{ head: 3n }] as Row[], rowCount: 1, command: 'SELECT' }),
      },
      // The first page was asked for before the second event was there.
      readLog: (request) => Promise.resolve({ page: pages.shift() ?? log.page(request), beats: pulse.beats }),
      pulse,
      owns: () => true,
      logger: silentLogger,
    },
    { after: -1n, prefixes: [], signal: stopping.signal },
  );
  const seen: string[] = [];
  for await (const message of messages) {
    seen.push(message.kind === 'events' ? `${message.events.length} events` : `at ${message.position}`);
    if (message.kind === 'caught-up') break;
  }
  stopping.abort();
  expect(seen).toEqual(['1 events', '1 events', 'at 3']);
});

describe('the tail of the log', () => {
  it('gives each subscriber every event that it wants once and in order, wherever the others are', async () => {
    const steps = fc.array(
      fc.oneof(
        fc.record({
          append: fc.array(fc.constantFrom('a-1', 'b-1', 'b-2'), { minLength: 1, maxLength: 20 }),
        }),
        fc.record({ read: fc.nat({ max: 3 }) }),
        fc.record({ together: fc.constant(true) }),
      ),
      { maxLength: 40 },
    );
    await fc.assert(
      fc.asyncProperty(steps, fc.integer({ min: 1, max: 5_000_000 }), async (steps, bytes) => {
        const log = createLog({ bytes });
        const readLog = createTail((request) => log.read(request), createPulse(UNBOUNDED));
        const subscribers = [[], ['a-'], ['b-'], ['b-2', 'a-']].map((prefixes, n) => ({
          prefixes,
          limit: n + 3,
          position: -1n,
          got: [] as PositionedEvent[],
        }));
        const advance = async (each: (typeof subscribers)[number]): Promise<boolean> => {
          const { prefixes, limit, position: after } = each;
          const { page } = await readLog({ after, prefixes, limit, scan: 8 });
          each.got.push(...page.events);
          expect(page.position).toBeGreaterThanOrEqual(after);
          expect(page.events.length).toBeLessThanOrEqual(limit);
          each.position = page.position;
          return page.atHead;
        };
        for (const step of steps) {
          if ('append' in step) for (const stream of step.append) log.append(stream);
          else if ('read' in step) await advance(subscribers[step.read]!);
          else await Promise.all(subscribers.map(advance));
        }
        for (const each of subscribers) {
          for (let looks = 0; !(await advance(each)); looks++) expect(looks).toBeLessThan(1_000);
          const all = { after: -1n, limit: 1_000, scan: 1_000 };
          expect(each.got).toEqual(log.page({ ...all, prefixes: each.prefixes }).events);
        }
      }),
    );
  });

  it('is read once for all who are there', async () => {
    const log = createLog();
    const readLog = createTail((request) => log.read(request), createPulse(UNBOUNDED));
    await readLog({ after: -1n, ...everything });
    log.append('a-1');
    log.append('b-1');
    const before = log.reads.length;
    const [a, b] = await Promise.all([
      readLog({ after: -1n, ...everything, prefixes: ['a-'] }),
      readLog({ after: -1n, ...everything, prefixes: ['b-'] }),
    ]);
    expect(a.page.events.map(({ stream }) => stream)).toEqual(['a-1']);
    expect(b.page.events.map(({ stream }) => stream)).toEqual(['b-1']);
    const late = await readLog({ after: -1n, ...everything });
    expect(late.page.events[0]).toBe(a.page.events[0]);
    expect(log.reads.length).toBe(before + 1);
  });

  it('tells who joins a read under way of what came after its beginning', async () => {
    const log = createLog();
    const pulse = createPulse(UNBOUNDED);
    let answer!: () => void;
    const readLog = createTail((request) => {
      const page = log.read(request);
      return log.reads.length === 1 ? page : new Promise((resolve) => (answer = () => resolve(page)));
    }, pulse);
    await readLog({ after: -1n, ...everything });
    const first = readLog({ after: -1n, ...everything });
    log.append('a-1');
    pulse.beat();
    const joined = readLog({ after: -1n, ...everything });
    answer();
    await first;
    // The page lacks the event: whoever waits for the next beat from here on would miss it.
    const { page, beats } = await joined;
    expect(page.events).toEqual([]);
    expect(beats).toBeLessThan(pulse.beats);
  });
});
