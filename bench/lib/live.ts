import { once } from 'node:events';
import { WebSocket } from 'ws';
import { z } from 'zod';

const message = z.object({
  type: z.string(),
  jobId: z.string().optional(),
  result: z.object({ timestamp: z.string() }).nullish(),
});
export type LiveMessage = z.infer<typeof message>;

export interface Follower {
  close(): Promise<void>;
}

/** Follows all jobs of a user, and hears of each message about one. Resolves when it is subscribed. */
export async function followAll(
  base: string,
  token: string,
  heard: (message: LiveMessage) => void,
): Promise<Follower> {
  const socket = new WebSocket(`${base.replace(/^http/, 'ws')}/?token=${token}`, {
    perMessageDeflate: false,
  });
  const subscribed = new Promise<void>((resolve, reject) => {
    socket.on('message', (data: Buffer) => {
      const told = message.parse(JSON.parse(data.toString()));
      if (told.type === 'subscribed') resolve();
      else if (told.jobId !== undefined) heard(told);
    });
    socket.once('close', (code, reason) => {
      reject(new Error(`The connection was closed: ${code} ${reason.toString()}`));
    });
  });
  subscribed.catch(() => undefined);
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
