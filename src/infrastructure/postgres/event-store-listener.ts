import type pg from 'pg';
import { errorMessage } from '../../errors.ts';
import type { Logger } from '../../logger.ts';
import { backoff, isAborted, sleep } from './waiting.ts';
import { createConnection } from './connection.ts';
import { createPulse } from './pulse.ts';
import type { Pulse } from './pulse.ts';

/** Tells the subscribers of all processes that there is something new. A hint: it may be lost, so everyone polls as well. */
export interface Listener {
  /** Beats when events were appended, by whichever process. */
  readonly pulse: Pulse;
  /** Begins to listen to other processes. Idempotent. */
  listen(): void;
  /** This process has appended: wakes its own subscribers at once, others a little later. */
  appended(): void;
  close(): Promise<void>;
}

const CHANNEL = 'asyncly_events';
/** Milliseconds in which appends share one notification. */
const DEBOUNCE = 10;
const RETRY = { first: 100, most: 5_000 };

/** One connection for a process, shared by its subscribers and used for its own notifications as well. */
export function createListener({ url, logger }: { url: string; logger: Logger }): Listener {
  const pulse = createPulse();
  const closing = new AbortController();
  const connection = createConnection({
    url,
    applicationName: 'asyncly listen',
    lockTimeout: 5_000,
    statementTimeout: 5_000,
    queryTimeout: 6_000,
    // Losing a notification is allowed; waiting for the disk for each is not worth it.
    setup: `SET synchronous_commit = off; LISTEN ${CHANNEL}`,
  });
  let listening: Promise<void> | null = null;
  let notified = Promise.resolve();
  let scheduled = false;

  async function stayConnected(): Promise<void> {
    for (let failures = 0; !closing.signal.aborted;) {
      try {
        const client = await connection.get();
        failures = 0;
        const lost = hear(client);
        // Whatever was sent while nobody listened.
        pulse.beat();
        await lost;
        if (!isAborted(closing.signal)) logger.warn('Event notifications interrupted; reconnecting');
      } catch (error) {
        failures++;
        const level = failures < 4 ? 'warn' : 'error';
        logger[level](
          { failures, reason: errorMessage(error) },
          'Event notifications not available; polling',
        );
      }
      await sleep(backoff(Math.max(failures, 1), RETRY.first, RETRY.most), closing.signal);
    }
  }

  /** Resolves when the connection ends. */
  function hear(client: pg.Client): Promise<void> {
    const { processID } = client as pg.Client & { readonly processID?: number };
    client.on('notification', (message) => {
      if (message.processId !== processID) pulse.beat();
    });
    return new Promise((resolve) => {
      client.once('end', resolve);
      client.once('error', () => resolve());
    });
  }

  async function notifySoon(): Promise<void> {
    await sleep(DEBOUNCE, closing.signal);
    // From here on an append needs a notification of its own.
    scheduled = false;
    try {
      await (await connection.get()).query(`NOTIFY ${CHANNEL}`);
    } catch (error) {
      logger.debug({ reason: errorMessage(error) }, 'Notification not sent');
      connection.discard();
    }
  }

  function listen(): void {
    listening ??= stayConnected();
  }

  return {
    pulse,
    listen,
    appended() {
      pulse.beat();
      if (closing.signal.aborted || scheduled) return;
      listen();
      scheduled = true;
      notified = notified.then(notifySoon);
    },
    async close() {
      closing.abort();
      await notified;
      await connection.close();
      await listening;
    },
  };
}
