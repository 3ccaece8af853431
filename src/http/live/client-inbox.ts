import { isMalformed, parseClientMessage } from './client-messages.ts';
import type { ClientMessage, Malformed } from './client-messages.ts';
import type { LiveSocket } from './live-socket.ts';
import { createMeter } from './meter.ts';
import type { MeterOptions } from './meter.ts';

export type ClientCommand = Exclude<ClientMessage, { type: 'ping' }>;

export interface InboxLimits {
  /** Messages from the client. */
  readonly messages: MeterOptions;
  /** Messages from the client that make no sense. */
  readonly malformed: MeterOptions;
}

export interface InboxOptions {
  readonly socket: LiveSocket;
  readonly limits: InboxLimits;
  /** Carries out one command; the next waits for it. */
  readonly carryOut: (command: ClientCommand) => Promise<void>;
  readonly ping: () => void;
  readonly malformed: (what: Malformed) => void;
  /** `carryOut` has failed: nothing more is carried out. */
  readonly failed: (error: unknown) => void;
}

/** Takes a client's messages in: what is well-formed is carried out one after the other, a flood ends the connection. */
export function createClientInbox(options: InboxOptions): { receive(text: string | null): void } {
  const { socket, limits, carryOut, ping, malformed, failed } = options;
  const messages = createMeter(limits.messages);
  const nonsense = createMeter(limits.malformed);
  const queue: ClientCommand[] = [];
  let working = false;

  async function work(): Promise<void> {
    if (working) return;
    working = true;
    try {
      for (let next = queue.shift(); next && !socket.signal.aborted; next = queue.shift())
        await carryOut(next);
    } catch (error) {
      failed(error);
    } finally {
      working = false;
    }
  }

  return {
    /** @param text of the frame; null when it was binary */
    receive(text) {
      if (socket.signal.aborted) return;
      if (!messages.take() || queue.length >= limits.messages.burst) {
        socket.close(1008, 'Too many messages');
        return;
      }
      const message = parseClientMessage(text);
      if (isMalformed(message)) {
        if (nonsense.take()) malformed(message);
        else socket.close(1008, 'Too many malformed messages');
      } else if (message.type === 'ping') {
        ping();
      } else {
        queue.push(message);
        void work();
      }
    },
  };
}
