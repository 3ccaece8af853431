import { LRUCache } from 'lru-cache';
import { validate as isUuid } from 'uuid';
import { UnavailableError } from '../../errors.ts';
import { decodeEvent } from '../../events/codec.ts';
import { readStream } from '../../events/event-store.ts';
import type { EventStore, Position } from '../../events/event-store.ts';
import { isTerminal, jobStream } from '../../events/job.ts';
import type { Job } from '../../events/job.ts';
import type { Logger } from '../../logger.ts';
import type { JobQueries } from '../../queries/jobs.ts';
import type { LiveQueries } from '../../queries/live.ts';
import { isMalformed, parseClientMessage } from './client-messages.ts';
import type { ClientMessage, SubscribeAll, SubscribeJob } from './client-messages.ts';
import { decodeCursor, encodeCursor } from './cursor.ts';
import type { LiveFeed, LiveItem, LiveListener } from './live-feed.ts';
import { isLiveEvent, liveMessage } from './live-messages.ts';
import type { LiveSocket } from './live-socket.ts';
import { createMeter } from './meter.ts';
import type { MeterOptions } from './meter.ts';
import { CursorTooOldError } from './scan.ts';
import type { Scan } from './scan.ts';

export interface LiveLimits {
  /** Jobs that one socket may follow by id. */
  readonly subscriptions: number;
  /** Messages from the client. */
  readonly messages: MeterOptions;
  /** Messages from the client that make no sense. */
  readonly malformed: MeterOptions;
  /** Events that wait while a subscription is set up, and the characters of their messages. */
  readonly bufferedEvents: number;
  readonly bufferedCharacters: number;
}

export interface LiveConnectionOptions {
  readonly userId: string;
  readonly socket: LiveSocket;
  readonly feed: LiveFeed;
  readonly scan: Scan;
  readonly store: EventStore;
  readonly jobs: JobQueries;
  readonly queries: LiveQueries;
  readonly limits: LiveLimits;
  readonly logger: Logger;
}

/** A job followed by its id. */
interface JobSubscription {
  /** Log events up to here are not this subscription's. */
  readonly from: Position;
  /** Revisions up to this one need no sending any more. */
  last: number;
  /** Revisions that this connection has been sent. */
  readonly sent: Set<number>;
}

/** Jobs followed by scope alone whose sent revisions are remembered, should the client ask for one of them by id. */
const REMEMBERED_JOBS = 2_000;
const BACKFILL_PAGE = 100;

const INTERRUPTED = 'Interrupted: connect again and resume';

/**
 * The protocol of one socket. Its messages leave in one order, that of the feed: while a subscription is set up, what the feed
 * delivers waits (`buffering`), or is left to the scan of the store that will come to it (`scanning`).
 */
export class LiveConnection implements LiveListener {
  readonly userId: string;
  readonly #options: LiveConnectionOptions;
  readonly #socket: LiveSocket;
  readonly #messages;
  readonly #malformed;
  readonly #commands: Exclude<ClientMessage, { type: 'ping' }>[] = [];
  #working = false;
  #mode: 'live' | 'buffering' | 'scanning' = 'live';
  /** How far the client has been told of things, while not live. */
  #position: Position;
  #buffer: LiveItem[] = [];
  #bufferedCharacters = 0;
  readonly #jobs = new Map<string, JobSubscription>();
  /** Set while the client follows all its jobs: from which position on. */
  #all: { readonly after: Position } | null = null;
  readonly #sentByScope = new LRUCache<string, Set<number>>({ max: REMEMBERED_JOBS });

  /** @param options the feed must have been joined for this connection, or be joined before anything is received */
  constructor(options: LiveConnectionOptions) {
    this.userId = options.userId;
    this.#options = options;
    this.#socket = options.socket;
    this.#messages = createMeter(options.limits.messages);
    this.#malformed = createMeter(options.limits.malformed);
    this.#position = options.feed.position;
  }

  greet(): void {
    this.#reply({ type: 'connected', message: 'WebSocket connected successfully' });
  }

  /** @param text of the frame; null when it was binary */
  receive(text: string | null): void {
    if (this.#socket.signal.aborted) return;
    if (!this.#messages.take()) {
      this.#socket.close(1008, 'Too many messages');
      return;
    }
    const message = parseClientMessage(text);
    if (isMalformed(message)) {
      if (this.#malformed.take()) this.#error(message.code, message.message);
      else this.#socket.close(1008, 'Too many malformed messages');
    } else if (message.type === 'ping') {
      this.#reply({ type: 'pong' });
    } else if (this.#commands.length >= this.#options.limits.messages.burst) {
      this.#socket.close(1008, 'Too many messages');
    } else {
      this.#commands.push(message);
      void this.#work();
    }
  }

  disrupted(): void {
    this.#socket.close(1012, INTERRUPTED);
  }

  deliver(item: LiveItem): void {
    switch (this.#mode) {
      case 'live':
        this.#pass(item);
        return;
      case 'buffering':
        this.#bufferedCharacters += item.text.length;
        this.#buffer.push(item);
        if (
          this.#buffer.length > this.#options.limits.bufferedEvents ||
          this.#bufferedCharacters > this.#options.limits.bufferedCharacters
        ) {
          this.#options.logger.warn(
            { userId: this.userId },
            'Live client too slow for what it subscribes to',
          );
          this.#socket.close(1013, INTERRUPTED);
        }
        return;
      case 'scanning':
        return;
      default:
        this.#mode satisfies never;
    }
  }

  /** Carries out what the client asks for, one after the other. */
  async #work(): Promise<void> {
    if (this.#working) return;
    this.#working = true;
    try {
      for (let next = this.#commands.shift(); next; next = this.#commands.shift()) {
        if (this.#socket.signal.aborted) return;
        await this.#carryOut(next);
      }
    } catch (error) {
      this.#options.logger.error({ err: error, userId: this.userId }, 'Live connection failed');
      this.#socket.close(1011, 'Internal error');
    } finally {
      this.#working = false;
    }
  }

  async #carryOut(message: Exclude<ClientMessage, { type: 'ping' }>): Promise<void> {
    const about = 'scope' in message ? { scope: message.scope } : { jobId: message.jobId };
    try {
      if (message.type === 'unsubscribe') {
        if ('scope' in message) this.#unsubscribeAll();
        else this.#unsubscribeJob(message.jobId);
      } else if ('scope' in message) {
        await this.#subscribeAll(message);
      } else {
        await this.#subscribeJob(message);
      }
    } catch (error) {
      if (!(error instanceof UnavailableError)) throw error;
      this.#options.logger.warn({ userId: this.userId, reason: error.message }, 'Live subscription failed');
      this.#error('UNAVAILABLE', 'Service temporarily unavailable, please try again', about);
    }
  }

  #unsubscribeJob(given: string): void {
    const jobId = given.toLowerCase();
    const subscription = this.#jobs.get(jobId);
    this.#options.feed.leaveJob(jobId, this);
    this.#jobs.delete(jobId);
    if (subscription && this.#all !== null) this.#sentByScope.set(jobId, subscription.sent);
    this.#reply({ type: 'unsubscribed', jobId: given });
  }

  #unsubscribeAll(): void {
    this.#endScope();
    this.#reply({ type: 'unsubscribed', scope: 'all' });
  }

  #endScope(): void {
    this.#options.feed.leaveUser(this);
    this.#all = null;
    this.#sentByScope.clear();
  }

  async #subscribeJob({ jobId: given, sinceRevision }: SubscribeJob): Promise<void> {
    const { feed, jobs, queries, limits } = this.#options;
    const jobId = given.toLowerCase();
    const before = this.#jobs.get(jobId);
    if (!isUuid(jobId)) {
      this.#error('JOB_NOT_FOUND', 'Job not found', { jobId: given });
      return;
    }
    if (!before && this.#jobs.size >= limits.subscriptions) {
      const message = `At most ${limits.subscriptions} jobs can be followed on one connection`;
      this.#error('TOO_MANY_SUBSCRIPTIONS', message, { jobId });
      return;
    }
    let subscribed = before !== undefined;
    this.#position = feed.position;
    this.#mode = 'buffering';
    // First of all: what the read model lacks when it is asked below will then come through the feed.
    feed.followJob(jobId, this);
    try {
      const job = await jobs.get(jobId, this.userId);
      if (job === null) {
        this.#error('JOB_NOT_FOUND', 'Job not found', { jobId: given });
        return;
      }
      const { status, revision } = job;
      if (sinceRevision !== undefined && sinceRevision > revision) {
        const message = `sinceRevision ${sinceRevision} is ahead of the job, which is at revision ${revision}`;
        this.#error('REVISION_AHEAD', message, { jobId, revision });
        return;
      }
      const readable = (await queries.jobRevision(jobId)) ?? -1;
      this.#reply({ type: 'subscribed', jobId, status, revision });
      const after = sinceRevision ?? (before ? revision : beforeStatus(job));
      const sent = before?.sent ?? this.#sentByScope.get(jobId) ?? new Set<number>();
      await this.#backfill(jobId, after, readable, sent);
      this.#jobs.set(jobId, { from: this.#position, last: Math.max(after, readable), sent });
      subscribed = true;
    } finally {
      if (!subscribed) feed.leaveJob(jobId, this);
      await this.#goLive();
    }
  }

  /** Sends what the read model has of a job's own stream, after one revision and up to another. */
  async #backfill(jobId: string, after: number, upTo: number, sent: Set<number>): Promise<void> {
    const { store } = this.#options;
    if (upTo <= after) return;
    for await (const recorded of readStream(store, jobStream(jobId), after + 1, BACKFILL_PAGE)) {
      if (recorded.revision > upTo || this.#socket.signal.aborted) break;
      const event = decodeEvent(recorded);
      if (!isLiveEvent(event) || sent.has(recorded.revision)) continue;
      const message = { ...liveMessage(event, recorded), cursor: encodeCursor(this.#position) };
      sent.add(recorded.revision);
      await this.#socket.sendPaced(JSON.stringify(message));
    }
  }

  /** Sends what has been waiting, and from then on everything as it comes. */
  async #goLive(): Promise<void> {
    for (let item = this.#buffer.shift(); item; item = this.#buffer.shift()) {
      this.#bufferedCharacters -= item.text.length;
      const text = this.#due(item);
      if (text !== null) await this.#socket.sendPaced(text);
      this.#position = item.position;
    }
    this.#mode = 'live';
  }

  async #subscribeAll({ sinceCursor }: SubscribeAll): Promise<void> {
    const { feed, store } = this.#options;
    if (this.#all !== null) {
      if (sinceCursor === undefined) this.#reply({ type: 'subscribed', scope: 'all' });
      else this.#error('ALREADY_SUBSCRIBED', 'Already subscribed: unsubscribe first', { scope: 'all' });
      return;
    }
    const after = sinceCursor === undefined ? feed.position : decodeCursor(sinceCursor);
    if (after === null) {
      this.#error('INVALID_CURSOR', 'sinceCursor is not a cursor of this service', { scope: 'all' });
      return;
    }
    // Another process may be further than this one, and the client may have come from there.
    if (after > feed.position && after > (await store.head())) {
      this.#error('CURSOR_AHEAD', 'sinceCursor is ahead of everything that has happened', { scope: 'all' });
      return;
    }
    if (after < feed.position) {
      await this.#resumeAll(after);
      return;
    }
    this.#all = { after };
    feed.followUser(this);
    this.#reply({ type: 'subscribed', scope: 'all' });
  }

  /** Comes from a position to that of the feed by reading the store, then goes on with the feed. */
  async #resumeAll(after: Position): Promise<void> {
    const { feed, scan } = this.#options;
    const { signal } = this.#socket;
    const began = feed.position;
    this.#all = { after };
    this.#position = after;
    this.#mode = 'scanning';
    feed.followUser(this);
    this.#reply({ type: 'subscribed', scope: 'all' });
    try {
      await scan({
        after,
        userId: this.userId,
        signal,
        take: async (item) => {
          const text = this.#dueInScan(item, began);
          if (text !== null) await this.#socket.sendPaced(text);
        },
        reached: (position) => {
          this.#position = position;
          if (position < feed.position) return false;
          // Now, and not when the scan has returned: the feed may have moved on by then.
          this.#mode = 'live';
          return true;
        },
      });
    } catch (error) {
      this.#endScope();
      if (this.#jobs.size > 0) this.#socket.close(1013, INTERRUPTED);
      if (!(error instanceof CursorTooOldError)) throw error;
      this.#error('CURSOR_TOO_OLD', error.message, { scope: 'all' });
    } finally {
      this.#mode = 'live';
    }
  }

  #pass(item: LiveItem): void {
    const text = this.#due(item);
    if (text !== null) this.#socket.send(text);
  }

  /** The text to send for an event of the feed; null when the client has it, or did not ask for it. */
  #due(item: LiveItem): string | null {
    const subscription = this.#jobs.get(item.jobId);
    if (!subscription) {
      if (this.#all === null || item.position <= this.#all.after) return null;
      if (item.kind === 'job') this.#sentTo(item.jobId).add(item.revision);
      return item.text;
    }
    if (item.kind === 'log') return item.text;
    if (item.revision <= subscription.last) return null;
    if (item.revision !== subscription.last + 1) {
      this.#options.logger.error({ jobId: item.jobId }, 'A live subscription missed events');
      this.#socket.close(1011, INTERRUPTED);
      return null;
    }
    subscription.last = item.revision;
    subscription.sent.add(item.revision);
    return item.text;
  }

  /** The same for an event that a scan has found; the feed had come to `began` when it set out. */
  #dueInScan(item: LiveItem, began: Position): string | null {
    const subscription = this.#jobs.get(item.jobId);
    if (item.kind === 'log') {
      const had = subscription !== undefined && item.position > subscription.from && item.position <= began;
      return had ? null : item.text;
    }
    const sent = this.#sentTo(item.jobId);
    if (subscription) subscription.last = Math.max(subscription.last, item.revision);
    if (sent.has(item.revision)) return null;
    sent.add(item.revision);
    return item.text;
  }

  #sentTo(jobId: string): Set<number> {
    const known = this.#jobs.get(jobId)?.sent ?? this.#sentByScope.get(jobId);
    if (known) return known;
    const sent = new Set<number>();
    this.#sentByScope.set(jobId, sent);
    return sent;
  }

  #error(code: string, message: string, about: Record<string, unknown> = {}): void {
    this.#reply({ type: 'error', code, message, ...about });
  }

  #reply(message: Record<string, unknown>): void {
    this.#socket.send(JSON.stringify({ ...message, cursor: encodeCursor(this.#cursor()) }));
  }

  /** Everything up to here that the client follows has been sent. */
  #cursor(): Position {
    if (this.#mode !== 'live') return this.#position;
    const { position } = this.#options.feed;
    return this.#all !== null && this.#all.after > position ? this.#all.after : position;
  }
}

/**
 * From where a client that names no revision is told: so that whoever waits for the start or the end of a job hears of it
 * also when it has just happened.
 */
function beforeStatus({ status, revision, cancelRequested }: Job): number {
  if (status === 'PENDING') return revision;
  if (isTerminal(status)) return revision - 1;
  return cancelRequested ? revision - 2 : revision - 1;
}
