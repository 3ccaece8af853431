import type { Server } from 'node:http';
import jwt from 'jsonwebtoken';
import type pg from 'pg';
import { WebSocketServer } from 'ws';
import type { WebSocket } from 'ws';
import { z } from 'zod';
import { accessKey, createRedis, UPDATES } from './settings.ts';

const request = z.union([
  z.object({ type: z.literal('subscribe'), jobId: z.string() }),
  z.object({ type: z.literal('subscribe'), scope: z.literal('all') }),
]);

/** Hands what workers publish to the sockets that asked for the job, or for all jobs of their user. */
export function startLive(server: Server, pool: pg.Pool): void {
  const sockets = new WebSocketServer({ server, maxPayload: 64 * 1024 });
  const byTopic = new Map<string, Set<WebSocket>>();
  const subscriber = createRedis();

  function follow(socket: WebSocket, topic: string): void {
    let followers = byTopic.get(topic);
    if (!followers) byTopic.set(topic, (followers = new Set()));
    followers.add(socket);
    socket.once('close', () => {
      followers.delete(socket);
      if (followers.size === 0) byTopic.delete(topic);
    });
  }

  sockets.on('connection', (socket, { url }) => {
    let userId: string;
    try {
      const token = new URL(url ?? '/', 'http://localhost').searchParams.get('token') ?? '';
      ({ sub: userId } = jwt.verify(token, accessKey, { algorithms: ['HS256'] }) as { sub: string });
    } catch {
      socket.close(1008, 'Invalid token');
      return;
    }
    socket.send(JSON.stringify({ type: 'connected', message: 'WebSocket connected successfully' }));
    socket.on('message', (data: Buffer) => {
      const { success, data: asked } = request.safeParse(JSON.parse(data.toString()));
      if (success) void subscribe(socket, userId, 'jobId' in asked ? asked.jobId : null);
    });
  });

  async function subscribe(socket: WebSocket, userId: string, jobId: string | null): Promise<void> {
    if (jobId === null) {
      follow(socket, userId);
      socket.send(JSON.stringify({ type: 'subscribed', scope: 'all' }));
      return;
    }
    const { rows } = await pool.query<{ user_id: string }>('SELECT user_id FROM jobs WHERE id = $1', [jobId]);
    if (rows[0]?.user_id !== userId) return;
    follow(socket, jobId);
    socket.send(JSON.stringify({ type: 'subscribed', jobId }));
  }

  void subscriber.subscribe(UPDATES);
  subscriber.on('message', (_channel, text: string) => {
    const { jobId, userId } = JSON.parse(text) as { jobId: string; userId: string };
    // Encoded once, however many it is sent to.
    const bytes = Buffer.from(text);
    for (const topic of [jobId, userId])
      for (const socket of byTopic.get(topic) ?? [])
        if (socket.readyState === socket.OPEN) socket.send(bytes, { binary: false });
  });
}
