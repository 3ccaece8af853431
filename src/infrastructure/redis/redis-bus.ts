import { randomUUID } from 'node:crypto';
import { createLocalBus, encodeMessage } from '../../bus.ts';
import type { Bus } from '../../bus.ts';
import { errorMessage } from '../../errors.ts';
import type { Logger } from '../../logger.ts';
import { endConnection, failingFast } from './connect.ts';
import type { RedisConnections } from './connect.ts';

/** Messages under way to Redis; beyond it new ones are dropped. */
const MAX_SENDING = 1_000;
/** How often the subscribing connection, which has nothing to say, is asked whether it still lives. */
const PING_MS = 10_000;
const ANSWER_MS = 5_000;

/**
 * The bus over Redis publish and subscribe. What is published while Redis is away is heard in this process only. Databases of one
 * Redis share their channels, so the channel's name carries the database's number.
 */
export function createRedisBus({ redis, logger }: { redis: RedisConnections; logger: Logger }): Bus {
  const local = createLocalBus(logger);
  const sender = randomUUID();
  const channelName = `asyncly:bus:${redis.shared.options.db ?? 0}`;
  const subscriber = redis.open('bus', { ...failingFast(ANSWER_MS), autoResubscribe: false });
  let sending = 0;
  let closing: Promise<void> | null = null;

  const drop = (error: unknown): void => logger.debug({ reason: errorMessage(error) }, 'Bus on Redis');
  const subscribe = (): void => void subscriber.subscribe(channelName).catch(drop);
  if (subscriber.status === 'ready') subscribe();
  subscriber.on('ready', subscribe);
  subscriber.on('message', (_channel, text) => {
    const [from, message] = split(text);
    // Our own have been delivered without the detour.
    if (from !== sender) local.deliverEncoded(message);
  });
  const pinging = setInterval(() => void subscriber.ping().catch(drop), PING_MS);
  pinging.unref();

  return {
    publish(channel, message) {
      if (closing !== null) return;
      local.deliver(channel, message);
      const text = encodeMessage(channel, message);
      if (text === null) {
        logger.error({ channel }, 'A message is too large for the bus');
        return;
      }
      if (sending >= MAX_SENDING) return;
      sending++;
      redis.shared
        .publish(channelName, `${sender} ${text}`)
        .catch(drop)
        .finally(() => sending--);
    },
    subscribe: (channel, listener) => local.subscribe(channel, listener),
    async close() {
      clearInterval(pinging);
      local.clear();
      await (closing ??= endConnection(subscriber));
    },
  };
}

function split(text: string): [sender: string, message: string] {
  const space = text.indexOf(' ');
  return [text.slice(0, space), text.slice(space + 1)];
}
