import type { Position, PositionedEvent } from '../../events/event-store.ts';
import type { Page, PageRequest } from './event-store-pages.ts';
import type { Pulse } from './pulse.ts';

/** A page, and the beats that there had been when Postgres was asked for it: later ones may tell of events that it lacks. */
export interface AskedPage {
  readonly page: Page;
  readonly beats: number;
}

/** Pages of the log; see {@link createTail}. */
export type ReadLog = (request: PageRequest) => Promise<AskedPage>;

/** What is kept. A subscriber who falls further behind reads by itself. */
const KEPT = { events: 2_000, bytes: 8 * 1024 * 1024 };

/** The newest pages of the log with every stream's events, each beginning where the one before ends. */
interface Tail {
  readonly from: Position;
  readonly to: Position;
  readonly pages: readonly Page[];
}

/**
 * The end of the log is read once for all subscribers of a process who are there; those behind it read by themselves. They share the
 * events, which nobody may change.
 * @param read asks Postgres, see `readPage`
 */
export function createTail(read: (request: PageRequest) => Promise<Page>, pulse: Pulse): ReadLog {
  let tail: Tail | null = null;
  let extending: Promise<AskedPage> | null = null;

  async function readAlone(request: PageRequest): Promise<AskedPage> {
    const { beats } = pulse;
    const page = await read(request);
    // Whoever comes to the end, and finds nobody there, begins the tail anew.
    if (page.atHead && (tail === null || page.position > tail.to))
      tail = { from: page.position, to: page.position, pages: [] };
    return { page, beats };
  }

  /** @param limit of whoever asks first: nobody is to hold more than it can take */
  async function extend({ from, to, pages }: Tail, limit: number): Promise<AskedPage> {
    const { beats } = pulse;
    const page = await read({ after: to, prefixes: [], limit, scan: limit });
    // Meanwhile it may have begun anew, further on.
    if (tail?.to === to && page.position > to)
      tail = trimmed({ from, to: page.position, pages: [...pages, page] });
    return { page, beats };
  }

  return async (request) => {
    if (tail === null || request.after < tail.from || request.after > tail.to) return readAlone(request);
    // There may be more by now: whoever comes to the end of these asks.
    if (request.after < tail.to)
      return { page: { ...cut(tail.pages, request), atHead: false }, beats: pulse.beats };
    extending ??= extend(tail, request.limit).finally(() => (extending = null));
    const { page, beats } = await extending;
    return page.position < request.after ? readAlone(request) : { page: cut([page], request), beats };
  };
}

function trimmed({ from, to, pages }: Tail): Tail {
  let kept = pages;
  const sum = (of: 'events' | 'bytes'): number =>
    kept.reduce((total, page) => total + (of === 'bytes' ? page.bytes : page.events.length), 0);
  while (sum('events') > KEPT.events || sum('bytes') > KEPT.bytes) kept = kept.slice(1);
  return { from: kept.length === pages.length ? from : (kept[0]?.after ?? to), to, pages: kept };
}

/** What a request wants of pages that follow each other. */
function cut(pages: readonly Page[], { after, prefixes, limit }: PageRequest): Page {
  const events: PositionedEvent[] = [];
  let position = after;
  let bytes = 0;
  let atHead = false;
  for (const page of pages) {
    if (page.position < after) continue;
    for (const event of page.events) {
      if (event.position <= after || !isWanted(event, prefixes)) continue;
      if (events.length === limit) return { after, events, position, bytes, atHead: false };
      events.push(event);
      position = event.position;
    }
    ({ position, atHead } = page);
    bytes += page.bytes;
  }
  return { after, events, position, bytes, atHead };
}

function isWanted({ stream }: PositionedEvent, prefixes: readonly string[]): boolean {
  return prefixes.length === 0 || prefixes.some((prefix) => stream.startsWith(prefix));
}
