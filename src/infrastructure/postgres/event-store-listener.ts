import { errorMessage } from '../../errors.ts';
import type { Logger } from '../../logger.ts';
import { sleep } from '../../waiting.ts';
import { createListening } from './listening.ts';
import { createPulse } from './pulse.ts';
import type { Pulse } from './pulse.ts';
import { createTurns } from './turns.ts';

/** Tells the subscribers of all processes that there is something new. A hint: it may be lost, so everyone polls as well. */
export interface Listener {
  /** Beats when events were appended, by whichever process. */
  readonly pulse: Pulse;
  /** Begins to listen to other processes. Idempotent. */
  listen(): void;
  /** This process has appended: wakes its own subscribers and those of others. */
  appended(): void;
  close(): Promise<void>;
}

const CHANNEL = 'asyncly_events';
/**
 * How often this process notifies the others, and how often it wakes its own subscribers. Either costs more than what there is to do for a
 * single event, on all sides; who hears of it less often finds more at a time. A few in a row, such as those of one job, go at once.
 */
const PACE = { burst: 8, everyMs: 15 };

/** One connection for a process, shared by its subscribers and used for its own notifications as well. */
export function createListener({ url, logger }: { url: string; logger: Logger }): Listener {
  const pulse = createPulse(PACE);
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
  const turns = createTurns(PACE);
  let notified = Promise.resolve();
  let scheduled = false;

  /** Appends that come before the next turn share a notification. */
  async function notify(): Promise<void> {
    // From here on an append needs a notification of its own.
    scheduled = false;
    try {
      await (await listening.connection.get()).query(`NOTIFY ${CHANNEL}`);
    } catch (error) {
      logger.debug({ reason: errorMessage(error) }, 'Notification not sent');
      listening.connection.discard();
    }
    for (let early = turns.take(); early > 0 && !closing.signal.aborted; early = turns.take()) {
      await sleep(early, closing.signal);
    }
  }

  return {
    pulse,
    listen: () => listening.start(),
    appended() {
      pulse.beat();
      if (closing.signal.aborted || scheduled) return;
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
