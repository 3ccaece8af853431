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
import { createClientInbox } from './client-inbox.ts';
import type { ClientCommand, InboxLimits } from './client-inbox.ts';
import type { SubscribeAll, SubscribeJob } from './client-messages.ts';
import { decodeCursor, encodeCursor } from './cursor.ts';
import { FollowedJobs, MissedEventError } from './followed-jobs.ts';
import type { LiveFeed, LiveItem, LiveListener } from './live-feed.ts';
import { isLiveEvent, liveMessage } from './live-messages.ts';
import type { LiveSocket } from './live-socket.ts';
import { CursorTooOldError } from './scan.ts';
import type { Scan } from './scan.ts';

export interface LiveLimits extends InboxLimits {
  /** Jobs that one socket may follow by id. */
  readonly subscriptions: number;
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
  readonly jobs: Pick<JobQueries, 'get'>;
  readonly queries: LiveQueries;
  readonly limits: LiveLimits;
  readonly logger: Logger;
}

/** What the feed has delivered; see {@link LiveListener}. */
interface Delivery {
  readonly item: LiveItem;
  readonly byUser: boolean;
}

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
  readonly #inbox;
  readonly #followed = new FollowedJobs();
  #mode: 'live' | 'buffering' | 'scanning' = 'live';
  /** How far the client has been told of things, while not live. */
  #position: Position;
  #buffer: Delivery[] = [];
  #bufferedCharacters = 0;

  /** @param options the feed must have been joined for this connection before anything is received */
  constructor(options: LiveConnectionOptions) {
    const { userId, socket, feed, limits, logger } = options;
    this.userId = userId;
    this.#options = options;
    this.#socket = socket;
    this.#position = feed.position;
    this.#inbox = createClientInbox({
      socket,
      limits,
      carryOut: (command) => this.#carryOut(command),
      ping: () => this.#reply({ type: 'pong' }),
      malformed: ({ code, message }) => this.#error(code, message),
      failed: (error) => {
        logger.error({ err: error, userId }, 'Live connection failed');
        socket.close(1011, INTERRUPTED);
      },
    });
  }

  greet(): void {
    this.#reply({ type: 'connected', message: 'WebSocket connected successfully' });
  }

  /** @param text of the frame; null when it was binary */
  receive(text: string | null): void {
    this.#inbox.receive(text);
  }

  disrupted(): void {
    this.#socket.close(1012, INTERRUPTED);
  }

  deliver(item: LiveItem, byUser: boolean): void {
    switch (this.#mode) {
      case 'live':
        if (this.#isDue({ item, byUser })) this.#socket.send(item.text);
        return;
      case 'buffering':
        this.#keep({ item, byUser });
        return;
      case 'scanning':
        return;
      default:
        this.#mode satisfies never;
    }
  }

  #keep(delivery: Delivery): void {
    const { limits, logger } = this.#options;
    this.#buffer.push(delivery);
    this.#bufferedCharacters += delivery.item.text.length;
    const fits =
      this.#buffer.length <= limits.bufferedEvents && this.#bufferedCharacters <= limits.bufferedCharacters;
    if (fits) return;
    logger.warn({ userId: this.userId }, 'A live client cannot keep up with what it subscribes to');
    this.#socket.close(1013, INTERRUPTED);
  }

  #isDue({ item, byUser }: Delivery): boolean {
    try {
      return this.#followed.take(item, byUser);
    } catch (error) {
      if (!(error instanceof MissedEventError)) throw error;
      this.#options.logger.error({ err: error, userId: this.userId }, 'A live subscription missed an event');
      this.#socket.close(1011, INTERRUPTED);
      return false;
    }
  }

  async #carryOut(command: ClientCommand): Promise<void> {
    const about = 'scope' in command ? { scope: command.scope } : { jobId: command.jobId };
    try {
      if (command.type === 'subscribe') {
        if ('scope' in command) await this.#subscribeAll(command);
        else await this.#subscribeJob(command);
        return;
      }
      if ('scope' in command) this.#leaveAll();
      else this.#leaveJob(command.jobId.toLowerCase());
      this.#reply({ type: 'unsubscribed', ...about });
    } catch (error) {
      if (!(error instanceof UnavailableError)) throw error;
      this.#options.logger.warn({ userId: this.userId, reason: error.message }, 'Live subscription failed');
      this.#error('UNAVAILABLE', 'Service temporarily unavailable, please try again', about);
    }
  }

  #leaveJob(jobId: string): void {
    this.#options.feed.leaveJob(jobId, this);
    this.#followed.leave(jobId);
  }

  #leaveAll(): void {
    this.#options.feed.leaveUser(this);
    this.#followed.leaveAll();
  }

  async #subscribeJob({ jobId: given, sinceRevision }: SubscribeJob): Promise<void> {
    const { feed, limits } = this.#options;
    const jobId = given.toLowerCase();
    if (!isUuid(jobId)) {
      this.#error('JOB_NOT_FOUND', 'Job not found', { jobId: given });
      return;
    }
    if (!this.#followed.has(jobId) && this.#followed.size >= limits.subscriptions) {
      const message = `At most ${limits.subscriptions} jobs can be followed on one connection`;
      this.#error('TOO_MANY_SUBSCRIPTIONS', message, { jobId });
      return;
    }
    this.#position = feed.position;
    this.#mode = 'buffering';
    // First of all: what the read model lacks when it is asked will then come through the feed.
    feed.followJob(jobId, this);
    try {
      await this.#catchUp(jobId, sinceRevision);
    } finally {
      if (!this.#followed.has(jobId)) feed.leaveJob(jobId, this);
      await this.#goLive();
    }
  }

  /** Brings the client up to what the read model has of a job, and follows it from there. */
  async #catchUp(jobId: string, sinceRevision: number | undefined): Promise<void> {
    const { jobs, queries } = this.#options;
    const job = await jobs.get(jobId, this.userId);
    if (job === null) {
      this.#error('JOB_NOT_FOUND', 'Job not found', { jobId });
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
    const isFollowed = this.#followed.has(jobId) || this.#followed.allAfter !== null;
    const after = sinceRevision ?? (isFollowed ? revision : beforeStatus(job));
    const sent = this.#followed.sent(jobId);
    await this.#backfill(jobId, after, readable, sent);
    this.#followed.follow(jobId, { from: this.#position, last: Math.max(after, readable), sent });
  }

  /** Sends what a job's own stream has after one revision and up to another. */
  async #backfill(jobId: string, after: number, upTo: number, sent: Set<number>): Promise<void> {
    if (upTo <= after) return;
    const stream = jobStream(jobId);
    for await (const recorded of readStream(this.#options.store, stream, after + 1, BACKFILL_PAGE)) {
      if (recorded.revision > upTo || this.#socket.signal.aborted) return;
      const event = decodeEvent(recorded);
      if (!isLiveEvent(event) || sent.has(recorded.revision)) continue;
      sent.add(recorded.revision);
      const message = { ...liveMessage(event, recorded), cursor: encodeCursor(this.#position) };
      await this.#socket.sendPaced(JSON.stringify(message));
    }
  }

  /** Sends what has been waiting, and from then on everything as it comes. */
  async #goLive(): Promise<void> {
    for (let next = this.#buffer.shift(); next; next = this.#buffer.shift()) {
      const { item } = next;
      this.#bufferedCharacters -= item.text.length;
      if (this.#isDue(next)) await this.#socket.sendPaced(item.text);
      this.#position = item.position;
    }
    this.#mode = 'live';
  }

  async #subscribeAll({ sinceCursor }: SubscribeAll): Promise<void> {
    const { feed, store } = this.#options;
    const scope = 'all';
    if (this.#followed.allAfter !== null) {
      if (sinceCursor === undefined) this.#reply({ type: 'subscribed', scope });
      else this.#error('ALREADY_SUBSCRIBED', 'Already subscribed: unsubscribe first', { scope });
      return;
    }
    const after = sinceCursor === undefined ? feed.position : decodeCursor(sinceCursor);
    if (after === null) {
      this.#error('INVALID_CURSOR', 'sinceCursor is not a cursor of this service', { scope });
      return;
    }
    // Another process may be further than this one, and the client may have come from there.
    if (after > feed.position && after > (await store.head())) {
      this.#error('CURSOR_AHEAD', 'sinceCursor is ahead of everything that has happened', { scope });
      return;
    }
    if (after < feed.position) {
      await this.#resumeAll(after);
      return;
    }
    this.#followed.followAll(after);
    feed.followUser(this);
    this.#reply({ type: 'subscribed', scope });
  }

  /** Comes from a position to that of the feed by reading the store, then goes on with the feed. */
  async #resumeAll(after: Position): Promise<void> {
    const { feed, scan } = this.#options;
    const began = feed.position;
    this.#followed.followAll(after);
    this.#position = after;
    this.#mode = 'scanning';
    feed.followUser(this);
    this.#reply({ type: 'subscribed', scope: 'all' });
    try {
      await scan({
        after,
        userId: this.userId,
        signal: this.#socket.signal,
        take: async (item) => {
          if (this.#followed.takeInScan(item, began)) await this.#socket.sendPaced(item.text);
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
      this.#leaveAll();
      // What the feed has delivered meanwhile was left to the scan, for jobs followed by id too.
      if (this.#followed.size > 0) this.#socket.close(1013, INTERRUPTED);
      if (!(error instanceof CursorTooOldError)) throw error;
      this.#error('CURSOR_TOO_OLD', error.message, { scope: 'all' });
    } finally {
      this.#mode = 'live';
    }
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
    const { allAfter } = this.#followed;
    return allAfter !== null && allAfter > position ? allAfter : position;
  }
}

/**
 * From where a client that names no revision is told: so that whoever waits for the start or the end of a job hears of it
 * also when it has just happened.
 */
function beforeStatus({ status, revision, cancelRequested }: Job): number {
  if (status === 'PENDING') return revision;
  return !isTerminal(status) && cancelRequested ? revision - 2 : revision - 1;
}
