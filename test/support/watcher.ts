import { LiveClient } from './live-client.ts';
import type { LiveMessage } from './live-client.ts';

const RECONNECT_MS = 20;

/**
 * A client that follows all jobs of its user as docs/websocket.md tells it to: it keeps the cursor of the last message, and when its
 * connection breaks off it goes to the next api and resumes there.
 */
export class Watcher {
  /** What it was told of jobs, over all its connections. */
  readonly told: LiveMessage[] = [];
  readonly errors: LiveMessage[] = [];
  /** Ids of the jobs whose end it was told of. */
  readonly ended = new Set<string>();
  /** How often it has subscribed. */
  subscriptions = 0;
  readonly #token: string;
  readonly #addresses: readonly string[];
  #client!: LiveClient;
  #at: number;
  #cursor: unknown = undefined;
  #left = false;

  /** @param addresses of the apis, without a path; @param first index of the one to begin with */
  constructor(token: string, addresses: readonly string[], first: number) {
    this.#token = token;
    this.#addresses = addresses;
    this.#at = first;
    this.#connect();
  }

  async leave(): Promise<void> {
    this.#left = true;
    await this.#client.close();
  }

  #connect(): void {
    if (this.#left) return;
    const address = this.#addresses[this.#at % this.#addresses.length] ?? '';
    this.#client = new LiveClient(`${address}/ws?token=${this.#token}`, {
      onMessage: (message) => this.#take(message),
      onClose: () => {
        this.#at++;
        setTimeout(() => this.#connect(), RECONNECT_MS);
      },
    });
  }

  #take(message: LiveMessage): void {
    if (message.type === 'connected') {
      const sinceCursor = this.#cursor;
      this.#client.send({
        type: 'subscribe',
        scope: 'all',
        ...(sinceCursor === undefined ? {} : { sinceCursor }),
      });
      return;
    }
    this.#cursor = message['cursor'];
    if (message.type === 'error') this.errors.push(message);
    else if (message.type === 'subscribed') this.subscriptions++;
    else this.told.push(message);
    if (['job:done', 'job:failed', 'job:cancelled'].includes(message.type)) this.ended.add(message.jobId!);
  }
}
