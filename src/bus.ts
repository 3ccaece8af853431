import { z } from 'zod';
import { errorMessage } from './errors.ts';
import type { Logger } from './logger.ts';

/** What is told on each channel. Every process validates what it hears: the others may be of another version. */
export const channels = {
  /** A projection has committed everything up to a position, written in decimal. */
  checkpoint: z.object({ projection: z.string(), position: z.string().regex(/^-?\d{1,20}$/) }),
  /** A logout has ended a session: its access tokens are not to be trusted by what stays open. */
  'session-ended': z.object({ sessionId: z.uuid() }),
  /** A running job is to be cancelled: whoever runs that execution may abort it now. */
  'cancel-requested': z.object({ jobId: z.uuid(), executionId: z.uuid() }),
} as const;

export type Channel = keyof typeof channels;
export type MessageOf<Name extends Channel> = z.infer<(typeof channels)[Name]>;

/**
 * Tells the other processes of the service, and this one, what has just happened. Every message is a hint: it may be
 * lost, come twice or late. Whoever must know in the end looks for itself from time to time.
 */
export interface Bus {
  /**
   * Sends to every subscriber of the channel in every process. Neither waits nor throws; a message that cannot be sent
   * is dropped. Subscribers in this process hear it even when the connection to the others is down.
   */
  publish<Name extends Channel>(channel: Name, message: MessageOf<Name>): void;
  /** @returns ends the subscription; idempotent */
  subscribe<Name extends Channel>(channel: Name, listener: (message: MessageOf<Name>) => void): () => void;
  /** Nothing is sent or heard afterwards. Idempotent. */
  close(): Promise<void>;
}

/** Most bytes of an encoded message; Postgres takes less than 8,000 in a notification. */
const MAX_MESSAGE_BYTES = 7_900;

/** A message as it goes from process to process; null when it is too large. */
export function encodeMessage(channel: Channel, message: unknown): string | null {
  const text = JSON.stringify({ channel, message });
  return Buffer.byteLength(text) > MAX_MESSAGE_BYTES ? null : text;
}

type Listener = (message: never) => void;

/** The subscribers of one process. What an adapter of the bus is built around. */
export interface LocalBus {
  subscribe: Bus['subscribe'];
  /** Hands a message to its subscribers soon, never within this call. One that throws is logged and holds up no other. */
  deliver(channel: Channel, message: unknown): void;
  /** Delivers what {@link encodeMessage} wrote elsewhere; what cannot be read is ignored. */
  deliverEncoded(text: string): void;
  clear(): void;
}

export function createLocalBus(logger: Logger): LocalBus {
  const listeners = new Map<Channel, Set<Listener>>();

  function call(channel: Channel, message: unknown): void {
    for (const listener of [...(listeners.get(channel) ?? [])]) {
      try {
        listener(message as never);
      } catch (error) {
        logger.error({ channel, err: error }, 'A subscriber of the bus failed');
      }
    }
  }

  function deliver(channel: Channel, message: unknown): void {
    queueMicrotask(() => call(channel, message));
  }

  return {
    subscribe(channel, listener) {
      const known = listeners.get(channel) ?? new Set();
      listeners.set(channel, known);
      // A function of its own for each subscription: the same one may be given twice.
      const entry: Listener = (message) => listener(message);
      known.add(entry);
      return () => known.delete(entry);
    },
    deliver,
    deliverEncoded(text) {
      try {
        const { channel, message } = envelope.parse(JSON.parse(text));
        deliver(channel, channels[channel].parse(message));
      } catch (error) {
        logger.debug({ reason: errorMessage(error) }, 'A message on the bus cannot be read');
      }
    },
    clear: () => listeners.clear(),
  };
}

const envelope = z.object({ channel: z.literal(Object.keys(channels) as Channel[]), message: z.unknown() });
