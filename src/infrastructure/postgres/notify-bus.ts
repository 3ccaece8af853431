import { createLocalBus, encodeMessage } from '../../bus.ts';
import type { Bus } from '../../bus.ts';
import { errorMessage } from '../../errors.ts';
import type { Logger } from '../../logger.ts';
import { createListening } from './listening.ts';

const CHANNEL = 'asyncly_bus';
/** Messages that wait for the connection; beyond it the oldest is dropped. */
const MAX_WAITING = 1_000;

/**
 * The bus over LISTEN and NOTIFY, on one connection that is made anew when it breaks. What is published meanwhile waits,
 * within bounds; what others publish meanwhile is lost. Needs a direct connection or a pooler in session mode.
 */
export function createNotifyBus({ url, logger }: { url: string; logger: Logger }): Bus {
  const local = createLocalBus(logger);
  const closing = new AbortController();
  const listening = createListening({
    url,
    applicationName: 'asyncly bus',
    channel: CHANNEL,
    signal: closing.signal,
    begun: () => sendSoon(),
    // Our own come without the detour.
    heard: (payload) => local.deliverEncoded(payload),
    lost: () => logger.warn('Bus interrupted; reconnecting'),
    unavailable: (failures, error) => {
      const level = failures < 4 ? 'warn' : 'error';
      logger[level](
        { failures, reason: errorMessage(error) },
        'Bus not available; others hear of changes when they poll',
      );
    },
  });
  const { connection } = listening;
  let waiting: string[] = [];
  let sending: Promise<void> | null = null;

  function sendSoon(): void {
    if (closing.signal.aborted || waiting.length === 0) return;
    sending ??= sendAll().finally(() => {
      sending = null;
    });
  }

  /** One statement at a time; what comes meanwhile goes together in the next. */
  async function sendAll(): Promise<void> {
    try {
      while (waiting.length > 0) {
        const client = await connection.get();
        const batch = waiting;
        waiting = [];
        await client.query('SELECT pg_notify($1, message) FROM unnest($2::text[]) AS message', [
          CHANNEL,
          batch,
        ]);
      }
    } catch (error) {
      logger.debug({ reason: errorMessage(error) }, 'Messages on the bus not sent');
      connection.discard();
    }
  }

  return {
    publish(channel, message) {
      if (closing.signal.aborted) return;
      listening.start();
      local.deliver(channel, message);
      const text = encodeMessage(channel, message);
      if (text === null) {
        logger.error({ channel }, 'A message is too large for the bus');
        return;
      }
      waiting.push(text);
      if (waiting.length > MAX_WAITING) waiting.shift();
      sendSoon();
    },
    subscribe(channel, listener) {
      listening.start();
      return local.subscribe(channel, listener);
    },
    async close() {
      closing.abort();
      local.clear();
      await sending;
      await connection.close();
      await listening.stopped();
    },
  };
}
