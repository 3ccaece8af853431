import { once } from 'node:events';
import { WebSocket } from 'ws';
import { eventually } from './waiting.ts';

export interface LiveMessage {
  readonly type: string;
  readonly jobId?: string;
  readonly [field: string]: unknown;
}

export interface LiveClientOptions {
  /** Of the upgrade. */
  readonly headers?: Readonly<Record<string, string>>;
  readonly onMessage?: (message: LiveMessage) => void;
  /** However it came, also when there was no connection at all. */
  readonly onClose?: () => void;
}

/** A WebSocket client that keeps all it was sent. */
export class LiveClient {
  readonly messages: LiveMessage[] = [];
  /** The code and reason the connection was closed with. */
  readonly closed: Promise<{ code: number; reason: string }>;
  readonly #socket: WebSocket;
  #closed = false;

  /** @param url with whatever query the test is about */
  constructor(url: string, { headers = {}, onMessage, onClose }: LiveClientOptions = {}) {
    this.#socket = new WebSocket(url, { headers });
    this.#socket.on('message', (data: Buffer) => {
      const message = JSON.parse(data.toString('utf8')) as LiveMessage;
      this.messages.push(message);
      onMessage?.(message);
    });
    this.closed = new Promise((resolve, reject) => {
      this.#socket.once('error', reject);
      this.#socket.once('close', (code: number, reason: Buffer) => {
        this.#closed = true;
        onClose?.();
        resolve({ code, reason: reason.toString('utf8') });
      });
    });
    this.closed.catch(() => undefined);
  }

  get isClosed(): boolean {
    return this.#closed;
  }

  send(message: object | string): void {
    this.#socket.send(typeof message === 'string' ? message : JSON.stringify(message));
  }

  /** The first message of this type, about this job where one is named, whenever it came or comes. */
  async message(type: string, jobId?: string, deadlineMs = 20_000): Promise<LiveMessage> {
    return eventually(() => {
      const found = this.messages.find(
        (one) => one.type === type && (jobId === undefined || one.jobId === jobId),
      );
      if (found !== undefined) return found;
      throw new Error(`No ${type} among ${JSON.stringify(this.messages)}`);
    }, deadlineMs);
  }

  /** Sends a request and waits for the answer to it. */
  async subscribe(jobId: string): Promise<LiveMessage> {
    this.send({ type: 'subscribe', jobId });
    return this.message('subscribed', jobId);
  }

  /** Stops reading. */
  pause(): void {
    this.#socket.pause();
  }

  resume(): void {
    this.#socket.resume();
  }

  /** Breaks the connection without a goodbye. Nothing comes after it. */
  async cut(): Promise<void> {
    if (this.#closed) return;
    this.#socket.terminate();
    await once(this.#socket, 'close');
  }

  async close(): Promise<void> {
    if (this.#closed) return;
    this.#socket.close();
    await once(this.#socket, 'close');
  }
}
