import type { WebSocket } from 'ws';
import type { Grant } from '../../identity/identity.ts';
import type { LiveSocket } from './live-socket.ts';

/** What the server keeps of a socket. */
export interface Client {
  readonly ws: WebSocket;
  readonly socket: LiveSocket;
  readonly grant: Grant;
  /** Whether it has answered the last heartbeat. */
  alive: boolean;
}

/** The sockets of one process. */
export class LiveClients implements Iterable<Client> {
  readonly #all = new Set<Client>();
  /** Nobody without a socket is in it. */
  readonly #socketsOf = new Map<string, number>();

  get size(): number {
    return this.#all.size;
  }

  socketsOf(userId: string): number {
    return this.#socketsOf.get(userId) ?? 0;
  }

  add(client: Client): void {
    this.#all.add(client);
    const { userId } = client.grant;
    this.#socketsOf.set(userId, this.socketsOf(userId) + 1);
  }

  /** Idempotent. */
  delete(client: Client): void {
    if (!this.#all.delete(client)) return;
    const { userId } = client.grant;
    const left = this.socketsOf(userId) - 1;
    if (left > 0) this.#socketsOf.set(userId, left);
    else this.#socketsOf.delete(userId);
  }

  [Symbol.iterator](): IterableIterator<Client> {
    return this.#all.values();
  }
}
