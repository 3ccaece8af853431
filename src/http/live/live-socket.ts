import type { WebSocket } from 'ws';
import type { UnreadMessages } from './unread-messages.ts';

/** Bytes that may wait for a client to read them; one that lets more pile up is cut off. */
const MAX_BUFFERED = 1_048_576;
/** Above this, whoever can wait does. */
const COMFORTABLE = 262_144;
/** Longest a reason may be (RFC 6455, section 5.5: 125 bytes with the code). */
const MAX_REASON_BYTES = 123;
/** How long a client may take to answer a close, in milliseconds. */
const CLOSE_WAIT_MS = 2_000;

/** One client's socket, with nothing unbounded behind it. */
export interface LiveSocket {
  /** Aborts when the socket is closing or closed: nothing is sent any more. */
  readonly signal: AbortSignal;
  /** Sends at once; a client that does not read is cut off. */
  send(text: string): void;
  /** Sends, and resolves when there is room for more, or nothing will be sent any more. */
  sendPaced(text: string): Promise<void>;
  /** Begins to close; a client that does not answer is cut off. Idempotent. */
  close(code: number, reason: string): void;
}

/**
 * @param unread what waits for all clients
 * @param cutOff told when this one was cut off because it does not read
 */
export function createLiveSocket(
  ws: WebSocket,
  unread: UnreadMessages,
  cutOff: (buffered: number) => void,
): LiveSocket {
  const closing = new AbortController();
  const { signal } = closing;
  const reader = {
    get unread() {
      return ws.bufferedAmount;
    },
    cutOff() {
      cutOff(ws.bufferedAmount);
      closing.abort();
      ws.terminate();
    },
  };
  ws.once('close', () => {
    closing.abort();
    unread.left(reader);
  });

  function send(text: string, sent?: () => void): void {
    if (signal.aborted) {
      sent?.();
      return;
    }
    ws.send(text, sent);
    if (ws.bufferedAmount > MAX_BUFFERED) reader.cutOff();
    else unread.sent(reader, text.length);
  }

  return {
    signal,
    send: (text) => send(text),
    sendPaced(text) {
      return new Promise((resolve) => {
        const done = (): void => {
          signal.removeEventListener('abort', done);
          resolve();
        };
        signal.addEventListener('abort', done);
        send(text, done);
        if (ws.bufferedAmount <= COMFORTABLE) done();
      });
    },
    close(code, reason) {
      if (signal.aborted) return;
      closing.abort();
      ws.close(code, Buffer.from(reason).subarray(0, MAX_REASON_BYTES));
      const late = setTimeout(() => ws.terminate(), CLOSE_WAIT_MS);
      ws.once('close', () => clearTimeout(late));
    },
  };
}
