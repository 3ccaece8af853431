import type pg from 'pg';
import { createLocalBus, encodeMessage } from '../../bus.ts';
import type { Bus } from '../../bus.ts';
import { errorMessage } from '../../errors.ts';
import type { Logger } from '../../logger.ts';
import { createConnection } from './connection.ts';
import { backoff, isAborted, sleep } from './waiting.ts';

const CHANNEL = 'asyncly_bus';
/** Messages that wait for the connection; beyond it the oldest is dropped. */
const MAX_WAITING = 1_000;
const RETRY = { first: 100, most: 5_000 };

/**
 * The bus over LISTEN and NOTIFY, on one connection that is made anew when it breaks. What is published meanwhile waits,
 * within bounds; what others publish meanwhile is lost. Needs a direct connection or a pooler in session mode.
 */
export function createNotifyBus({ url, logger }: { url: string; logger: Logger }): Bus {
  const local = createLocalBus(logger);
  const closing = new AbortController();
  const connection = createConnection({
    url,
    applicationName: 'asyncly bus',
    lockTimeout: 5_000,
    statementTimeout: 5_000,
    queryTimeout: 6_000,
    // A hint is not worth waiting for the disk.
    setup: `SET synchronous_commit = off; LISTEN ${CHANNEL}`,
  });
  let waiting: string[] = [];
  let sending: Promise<void> | null = null;
  let connected: Promise<void> | null = null;

  async function stayConnected(): Promise<void> {
    for (let failures = 0; !closing.signal.aborted;) {
      try {
        const client = await connection.get();
        failures = 0;
        const lost = hear(client);
        sendSoon();
        await lost;
        if (!isAborted(closing.signal)) logger.warn('Bus interrupted; reconnecting');
      } catch (error) {
        failures++;
        logger[failures < 4 ? 'warn' : 'error'](
          { failures, reason: errorMessage(error) },
          'Bus not available; others hear of changes when they poll',
        );
      }
      await sleep(backoff(Math.max(failures, 1), RETRY.first, RETRY.most), closing.signal);
    }
  }

  /** Resolves when the connection ends. */
  function hear(client: pg.Client): Promise<void> {
    const { processID } = client as pg.Client & { readonly processID?: number };
    client.on('notification', ({ processId, payload }) => {
      // Our own have been delivered without the detour.
      if (processId !== processID && payload !== undefined) local.deliverEncoded(payload);
    });
    return new Promise((resolve) => {
      client.once('end', resolve);
      client.once('error', () => resolve());
    });
  }

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

  const connect = (): void => {
    if (!closing.signal.aborted) connected ??= stayConnected();
  };

  return {
    publish(channel, message) {
      if (closing.signal.aborted) return;
      connect();
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
      connect();
      return local.subscribe(channel, listener);
    },
    async close() {
      closing.abort();
      local.clear();
      await sending;
      await connection.close();
      await connected;
    },
  };
}
