import type { Position } from '../../events/event-store.ts';
import type { Logger } from '../../logger.ts';
import { encodeCursor } from './cursor.ts';
import { MissedEventError } from './followed-jobs.ts';
import type { FollowedJobs } from './followed-jobs.ts';
import type { LiveFeed, LiveItem } from './live-feed.ts';
import type { LiveSocket } from './live-socket.ts';

/** Why a socket is closed whose messages would have a gap. */
export const INTERRUPTED = 'Interrupted: connect again and resume';

export interface OutboxLimits {
  /** Events that wait while a subscription is set up, and the characters of their messages. */
  readonly bufferedEvents: number;
  readonly bufferedCharacters: number;
}

export interface OutboxOptions {
  readonly userId: string;
  readonly socket: LiveSocket;
  readonly feed: Pick<LiveFeed, 'position'>;
  readonly followed: FollowedJobs;
  readonly limits: OutboxLimits;
  readonly logger: Logger;
}

/** What the feed has delivered; see `LiveListener`. */
export interface Delivery {
  readonly item: LiveItem;
  readonly byUser: boolean;
}

/**
 * What leaves by one socket, in one order, that of the feed: while a subscription is set up, what the feed delivers waits
 * (`buffering`), or is left to the scan of the store that will come to it (`scanning`).
 */
export class LiveOutbox {
  readonly #options: OutboxOptions;
  #mode: 'live' | 'buffering' | 'scanning' = 'live';
  #position: Position;
  #buffer: Delivery[] = [];
  #bufferedCharacters = 0;

  constructor(options: OutboxOptions) {
    this.#options = options;
    this.#position = options.feed.position;
  }

  /** How far the client has been told of things, while not live. */
  get position(): Position {
    return this.#position;
  }

  deliver(delivery: Delivery): void {
    switch (this.#mode) {
      case 'live':
        if (this.#isDue(delivery)) this.#options.socket.send(delivery.item.text);
        return;
      case 'buffering':
        this.#keep(delivery);
        return;
      case 'scanning':
        return;
      default:
        this.#mode satisfies never;
    }
  }

  #keep(delivery: Delivery): void {
    const { userId, socket, limits, logger } = this.#options;
    this.#buffer.push(delivery);
    this.#bufferedCharacters += delivery.item.text.length;
    const fits =
      this.#buffer.length <= limits.bufferedEvents && this.#bufferedCharacters <= limits.bufferedCharacters;
    if (fits) return;
    logger.warn({ userId }, 'A live client cannot keep up with what it subscribes to');
    socket.close(1013, INTERRUPTED);
  }

  #isDue({ item, byUser }: Delivery): boolean {
    const { userId, socket, followed, logger } = this.#options;
    try {
      return followed.take(item, byUser);
    } catch (error) {
      if (!(error instanceof MissedEventError)) throw error;
      logger.error({ err: error, userId }, 'A live subscription missed an event');
      socket.close(1011, INTERRUPTED);
      return false;
    }
  }

  /** From now until {@link goLive}, what the feed delivers waits. */
  wait(): void {
    this.#position = this.#options.feed.position;
    this.#mode = 'buffering';
  }

  /** Sends what has been waiting, and from then on everything as it comes. */
  async goLive(): Promise<void> {
    for (let next = this.#buffer.shift(); next; next = this.#buffer.shift()) {
      const { item } = next;
      this.#bufferedCharacters -= item.text.length;
      if (this.#isDue(next)) await this.#options.socket.sendPaced(item.text);
      this.#position = item.position;
    }
    this.#mode = 'live';
  }

  /** From now until {@link endScan}, a scan that begins after a position sends what the feed delivers. */
  leaveToScan(after: Position): void {
    this.#position = after;
    this.#mode = 'scanning';
  }

  /**
   * Everything up to a position has been sent by the scan.
   * @returns whether the feed goes on from here. It does so at once, and not when the scan has returned: it may have moved on by then
   */
  scanReached(position: Position): boolean {
    this.#position = position;
    if (position < this.#options.feed.position) return false;
    this.#mode = 'live';
    return true;
  }

  endScan(): void {
    this.#mode = 'live';
  }

  error(code: string, message: string, about: Record<string, unknown> = {}): void {
    this.reply({ type: 'error', code, message, ...about });
  }

  reply(message: Record<string, unknown>): void {
    this.#options.socket.send(JSON.stringify({ ...message, cursor: encodeCursor(this.#cursor()) }));
  }

  /** Everything up to here that the client follows has been sent. */
  #cursor(): Position {
    if (this.#mode !== 'live') return this.#position;
    const { feed, followed } = this.#options;
    const { allAfter } = followed;
    return allAfter !== null && allAfter > feed.position ? allAfter : feed.position;
  }
}
