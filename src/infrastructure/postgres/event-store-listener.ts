import { errorMessage } from '../../errors.ts';
import type { Logger } from '../../logger.ts';
import { sleep } from '../../waiting.ts';
import { createListening } from './listening.ts';
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
/** Between two notifications: a multiple of what the last one took, so many milliseconds at most. Appends meanwhile share the next. */
const PAUSE = { times: 1, most: 50 };

/** One connection for a process, shared by its subscribers and used for its own notifications as well. */
export function createListener({ url, logger }: { url: string; logger: Logger }): Listener {
  const pulse = createPulse();
  const closing = new AbortController();
  const listening = createListening({
    url,
    applicationName: 'asyncly listen',
    channel: CHANNEL,
    signal: closing.signal,
    // Whatever was sent while nobody listened.
    begun: () => pulse.beat(),
    heard: () => pulse.beat(),
    lost: () => logger.warn('Event notifications interrupted; reconnecting'),
    unavailable: (failures, error) => {
      const level = failures < 4 ? 'warn' : 'error';
      logger[level]({ failures, reason: errorMessage(error) }, 'Event notifications not available; polling');
    },
  });
  let notified = Promise.resolve();
  let scheduled = false;

  /** At once after a quiet time: whoever waits for one event gets it without delay. */
  async function notify(): Promise<void> {
    // From here on an append needs a notification of its own.
    scheduled = false;
    const began = performance.now();
    try {
      await (await listening.connection.get()).query(`NOTIFY ${CHANNEL}`);
    } catch (error) {
      logger.debug({ reason: errorMessage(error) }, 'Notification not sent');
      listening.connection.discard();
    }
    const took = performance.now() - began;
    await sleep(Math.min(took * PAUSE.times, PAUSE.most), closing.signal);
  }

  return {
    pulse,
    listen: () => listening.start(),
    appended() {
      pulse.beat();
      if (closing.signal.aborted || scheduled) return;
      listening.start();
      scheduled = true;
      notified = notified.then(notify);
    },
    async close() {
      closing.abort();
      await notified;
      await listening.connection.close();
      await listening.stopped();
    },
  };
}
