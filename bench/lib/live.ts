import { once } from 'node:events';
import { WebSocket } from 'ws';
import { z } from 'zod';

const message = z.object({ type: z.string(), jobId: z.string().optional() });

export interface Follower {
  close(): Promise<void>;
}

/** Follows all jobs of a user, and hears of each message that arrives. Resolves when it is subscribed. */
export async function followAll(
  base: string,
  token: string,
  heard: (type: string, jobId: string) => void,
): Promise<Follower> {
  const socket = new WebSocket(`${base.replace(/^http/, 'ws')}/?token=${token}`, {
    perMessageDeflate: false,
  });
  const subscribed = new Promise<void>((resolve) => {
    socket.on('message', (data: Buffer) => {
      const { type, jobId } = message.parse(JSON.parse(data.toString()));
      if (type === 'subscribed') resolve();
      else if (jobId !== undefined) heard(type, jobId);
    });
  });
  await once(socket, 'open');
  socket.send(JSON.stringify({ type: 'subscribe', scope: 'all' }));
  await subscribed;
  return {
    async close() {
      const closed = once(socket, 'close');
      socket.close();
      await closed;
    },
  };
}
