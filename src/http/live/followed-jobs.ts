import type { Position } from '../../events/event-store.ts';
import type { LiveItem } from './live-feed.ts';

/** A job followed by its id. */
interface JobSubscription {
  /** Log events up to here are not this subscription's. */
  readonly from: Position;
  /** Revisions up to this one were not asked for, or have been sent. */
  last: number;
  readonly sent: Set<number>;
}

/** An event that should have come before this one has not. */
export class MissedEventError extends Error {}

/** Jobs followed by scope alone whose sent revisions are remembered, should the client ask for one of them by id. */
const REMEMBERED_JOBS = 2_000;

/** What one client follows, by id and by scope, and what it has been sent of it: each event once. */
export class FollowedJobs {
  readonly #jobs = new Map<string, JobSubscription>();
  /** Set while the client follows all its jobs: events up to here are not wanted. */
  #allAfter: Position | null = null;
  /** The one used longest ago first. A cache of a fixed size would cost an idle client 40 KB. */
  readonly #sentByScope = new Map<string, Set<number>>();

  /** Jobs followed by id. */
  get size(): number {
    return this.#jobs.size;
  }

  get allAfter(): Position | null {
    return this.#allAfter;
  }

  has(jobId: string): boolean {
    return this.#jobs.has(jobId);
  }

  /** The revisions that the client has of a job, as far as they are remembered; to be added to by whoever sends more. */
  sent(jobId: string): Set<number> {
    const followed = this.#jobs.get(jobId)?.sent;
    if (followed) return followed;
    const sent = this.#sentByScope.get(jobId) ?? new Set<number>();
    this.#remember(jobId, sent);
    return sent;
  }

  #remember(jobId: string, sent: Set<number>): void {
    if (this.#allAfter === null) return;
    this.#sentByScope.delete(jobId);
    this.#sentByScope.set(jobId, sent);
    if (this.#sentByScope.size <= REMEMBERED_JOBS) return;
    const [oldest] = this.#sentByScope.keys();
    if (oldest !== undefined) this.#sentByScope.delete(oldest);
  }

  /**
   * Begins to follow a job.
   * @param from the position up to which the client does not follow it
   * @param last the revision after which the client is to be sent everything
   */
  follow(jobId: string, { from, last, sent }: { from: Position; last: number; sent: Set<number> }): void {
    this.#jobs.set(jobId, { from, last, sent });
  }

  leave(jobId: string): void {
    const left = this.#jobs.get(jobId);
    this.#jobs.delete(jobId);
    if (left) this.#remember(jobId, left.sent);
  }

  followAll(after: Position): void {
    this.#allAfter = after;
  }

  leaveAll(): void {
    this.#allAfter = null;
    this.#sentByScope.clear();
  }

  /**
   * Whether an event of the feed is to be sent; it then counts as sent.
   * @param byUser it is known to be of a job of the client's user. Without that it is sent only to who follows the job by id: an
   * event may come by the id of a job before it is known whose it is
   * @throws MissedEventError when one before it never came
   */
  take(item: LiveItem, byUser: boolean): boolean {
    const byScope = byUser && this.#allAfter !== null && item.position > this.#allAfter;
    const subscription = this.#jobs.get(item.jobId);
    if (item.kind === 'log') return byScope || subscription !== undefined;
    if (!subscription) {
      if (byScope) this.sent(item.jobId).add(item.revision);
      return byScope;
    }
    const { last, sent } = subscription;
    if (item.revision > last + 1) {
      throw new MissedEventError(`Revision ${item.revision} of job ${item.jobId} follows ${last}`);
    }
    subscription.last = Math.max(last, item.revision);
    // One that was not asked for by id may still be new to a client that follows everything.
    if (sent.has(item.revision) || (item.revision <= last && !byScope)) return false;
    sent.add(item.revision);
    return true;
  }

  /** The same for an event that a scan for `followAll` has found, when the feed was at `began` as it set out. */
  takeInScan(item: LiveItem, began: Position): boolean {
    const subscription = this.#jobs.get(item.jobId);
    if (item.kind === 'log') {
      return subscription === undefined || item.position <= subscription.from || item.position > began;
    }
    if (subscription) subscription.last = Math.max(subscription.last, item.revision);
    const sent = this.sent(item.jobId);
    if (sent.has(item.revision)) return false;
    sent.add(item.revision);
    return true;
  }
}
