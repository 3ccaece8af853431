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
import { FollowedJobs } from './followed-jobs.ts';
import type { LiveFeed, LiveItem, LiveListener } from './live-feed.ts';
import { isLiveEvent, liveMessage } from './live-messages.ts';
import { INTERRUPTED, LiveOutbox } from './live-outbox.ts';
import type { OutboxLimits } from './live-outbox.ts';
import type { LiveSocket } from './live-socket.ts';
import { CursorTooOldError } from './scan.ts';
import type { Scan } from './scan.ts';

export interface LiveLimits extends InboxLimits, OutboxLimits {
  /** Jobs that one socket may follow by id. */
  readonly subscriptions: number;
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

const BACKFILL_PAGE = 100;

/** The protocol of one socket: carries out what its client asks for. */
export class LiveConnection implements LiveListener {
  readonly userId: string;
  readonly #options: LiveConnectionOptions;
  readonly #socket: LiveSocket;
  readonly #inbox;
  readonly #followed = new FollowedJobs();
  readonly #outbox: LiveOutbox;

  /** @param options the feed must have been joined for this connection before anything is received */
  constructor(options: LiveConnectionOptions) {
    const { userId, socket, feed, limits, logger } = options;
    this.userId = userId;
    this.#options = options;
    this.#socket = socket;
    this.#outbox = new LiveOutbox({ userId, socket, feed, followed: this.#followed, limits, logger });
    this.#inbox = createClientInbox({
      socket,
      limits,
      carryOut: (command) => this.#carryOut(command),
      ping: () => this.#outbox.reply({ type: 'pong' }),
      malformed: ({ code, message }) => this.#outbox.error(code, message),
      failed: (error) => {
        logger.error({ err: error, userId }, 'Live connection failed');
        socket.close(1011, INTERRUPTED);
      },
    });
  }

  greet(): void {
    this.#outbox.reply({ type: 'connected', message: 'WebSocket connected successfully' });
  }

  /** @param text of the frame; null when it was binary */
  receive(text: string | null): void {
    this.#inbox.receive(text);
  }

  disrupted(): void {
    this.#socket.close(1012, INTERRUPTED);
  }

  deliver(item: LiveItem, byUser: boolean): void {
    this.#outbox.deliver({ item, byUser });
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
      this.#outbox.reply({ type: 'unsubscribed', ...about });
    } catch (error) {
      if (!(error instanceof UnavailableError)) throw error;
      this.#options.logger.warn({ userId: this.userId, reason: error.message }, 'Live subscription failed');
      this.#outbox.error('UNAVAILABLE', 'Service temporarily unavailable, please try again', about);
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
      this.#outbox.error('JOB_NOT_FOUND', 'Job not found', { jobId: given });
      return;
    }
    if (!this.#followed.has(jobId) && this.#followed.size >= limits.subscriptions) {
      const message = `At most ${limits.subscriptions} jobs can be followed on one connection`;
      this.#outbox.error('TOO_MANY_SUBSCRIPTIONS', message, { jobId });
      return;
    }
    this.#outbox.wait();
    // First of all: what the read model lacks when it is asked will then come through the feed.
    feed.followJob(jobId, this);
    try {
      await this.#catchUp(jobId, sinceRevision);
    } finally {
      if (!this.#followed.has(jobId)) feed.leaveJob(jobId, this);
      await this.#outbox.goLive();
    }
  }

  /** Brings the client up to what the read model has of a job, and follows it from there. */
  async #catchUp(jobId: string, sinceRevision: number | undefined): Promise<void> {
    const { jobs, queries } = this.#options;
    const job = await jobs.get(jobId, this.userId);
    if (job === null) {
      this.#outbox.error('JOB_NOT_FOUND', 'Job not found', { jobId });
      return;
    }
    const { status, revision } = job;
    if (sinceRevision !== undefined && sinceRevision > revision) {
      const message = `sinceRevision ${sinceRevision} is ahead of the job, which is at revision ${revision}`;
      this.#outbox.error('REVISION_AHEAD', message, { jobId, revision });
      return;
    }
    const readable = (await queries.jobRevision(jobId)) ?? -1;
    this.#outbox.reply({ type: 'subscribed', jobId, status, revision });
    const isFollowed = this.#followed.has(jobId) || this.#followed.allAfter !== null;
    const after = sinceRevision ?? (isFollowed ? revision : beforeStatus(job));
    const sent = this.#followed.sent(jobId);
    await this.#backfill(jobId, after, readable, sent);
    this.#followed.follow(jobId, { from: this.#outbox.position, last: Math.max(after, readable), sent });
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
      const message = { ...liveMessage(event, recorded), cursor: encodeCursor(this.#outbox.position) };
      await this.#socket.sendPaced(JSON.stringify(message));
    }
  }

  async #subscribeAll({ sinceCursor }: SubscribeAll): Promise<void> {
    const { feed, store } = this.#options;
    const scope = 'all';
    if (this.#followed.allAfter !== null) {
      if (sinceCursor === undefined) this.#outbox.reply({ type: 'subscribed', scope });
      else this.#outbox.error('ALREADY_SUBSCRIBED', 'Already subscribed: unsubscribe first', { scope });
      return;
    }
    const after = sinceCursor === undefined ? feed.position : decodeCursor(sinceCursor);
    if (after === null) {
      this.#outbox.error('INVALID_CURSOR', 'sinceCursor is not a cursor of this service', { scope });
      return;
    }
    // Another process may be further than this one, and the client may have come from there.
    if (after > feed.position && after > (await store.head())) {
      this.#outbox.error('CURSOR_AHEAD', 'sinceCursor is ahead of everything that has happened', { scope });
      return;
    }
    if (after < feed.position) {
      await this.#resumeAll(after);
      return;
    }
    this.#followed.followAll(after);
    feed.followUser(this);
    this.#outbox.reply({ type: 'subscribed', scope });
  }

  /** Comes from a position to that of the feed by reading the store, then goes on with the feed. */
  async #resumeAll(after: Position): Promise<void> {
    const { feed, scan } = this.#options;
    const began = feed.position;
    this.#followed.followAll(after);
    this.#outbox.leaveToScan(after);
    feed.followUser(this);
    this.#outbox.reply({ type: 'subscribed', scope: 'all' });
    try {
      await scan({
        after,
        userId: this.userId,
        signal: this.#socket.signal,
        take: async (item) => {
          if (this.#followed.takeInScan(item, began)) await this.#socket.sendPaced(item.text);
        },
        reached: (position) => this.#outbox.scanReached(position),
      });
    } catch (error) {
      this.#leaveAll();
      // What the feed has delivered meanwhile was left to the scan, for jobs followed by id too.
      if (this.#followed.size > 0) this.#socket.close(1013, INTERRUPTED);
      if (!(error instanceof CursorTooOldError)) throw error;
      this.#outbox.error('CURSOR_TOO_OLD', error.message, { scope: 'all' });
    } finally {
      this.#outbox.endScan();
    }
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
