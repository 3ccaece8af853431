import { randomUUID } from 'node:crypto';
import { deflateRawSync } from 'node:zlib';
import { afterAll, afterEach, beforeAll, describe, expect, onTestFinished, test } from 'vitest';
import { LiveClient } from '../support/live-client.ts';
import { frame, OPCODES, RawWebSocket } from '../support/raw-websocket.ts';
import { startTarget } from '../support/target.ts';
import type { Target, TargetUser } from '../support/target.ts';

let target: Target;
let victim: TargetUser;
let intruder: TargetUser;

beforeAll(async () => {
  target = await startTarget();
  [victim, intruder] = [await target.newUser(), await target.newUser()];
});
afterAll(() => target.stop());

async function submit(user: TargetUser, more: object = {}): Promise<string> {
  const body = { type: 'send-email', payload: {}, ...more };
  const answer = await target.call('POST', '/api/jobs', { token: user.apiKey, body });
  return (answer.body.data as { id: string }).id;
}

async function connect({ apiKey }: TargetUser): Promise<LiveClient> {
  const client = new LiveClient(`${target.wsBase}/ws?token=${apiKey}`);
  onTestFinished(() => client.close());
  await client.message('connected');
  return client;
}

describe("another user's jobs", () => {
  test('are not followed by id, in whatever way it is asked', async () => {
    const jobId = await submit(victim);
    const owner = await connect(victim);
    owner.send({ type: 'subscribe', jobId });
    await owner.message('job:done', jobId);
    const client = await connect(intruder);
    const ways = [
      { jobId },
      { jobId: jobId.toUpperCase() },
      { jobId, sinceRevision: -1 },
      { jobId, sinceRevision: 999 },
      { jobId, userId: victim.id },
      { jobId, scope: 'all', userId: victim.id },
    ];
    for (const way of ways) client.send({ type: 'subscribe', ...way });
    const unknown = randomUUID();
    client.send({ type: 'subscribe', jobId: unknown });
    client.send({ type: 'unsubscribe', jobId });
    await client.message('unsubscribed');
    const told = client.messages.filter(({ type }) => type !== 'connected');
    // A scope is always one's own; beside that each is answered as if there were no such job.
    const notFound = told.filter(({ scope, type }) => scope === undefined && type === 'error');
    const { cursor, ...answer } = notFound.find((message) => message.jobId === unknown)!;
    expect(answer).toEqual({
      type: 'error',
      code: 'JOB_NOT_FOUND',
      message: 'Job not found',
      jobId: unknown,
    });
    expect(notFound).toHaveLength(ways.length);
    for (const message of notFound) expect(message).toEqual({ ...answer, cursor, jobId: message.jobId });
    expect(told.map(({ type }) => type).filter((type) => type.startsWith('job:'))).toEqual([]);
  });

  test("are not in what follows another user's cursor, from the beginning of everything", async () => {
    const owner = await connect(victim);
    owner.send({ type: 'subscribe', scope: 'all' });
    const { cursor: before } = await owner.message('subscribed');
    const theirs = await submit(victim);
    const { cursor: after } = await owner.message('job:done', theirs);
    const beginning = Buffer.from('1.-1').toString('base64url');
    for (const sinceCursor of [before, after, beginning]) {
      const client = await connect(intruder);
      client.send({ type: 'subscribe', scope: 'all', sinceCursor });
      await client.message('subscribed');
      const own = await submit(intruder);
      await client.message('job:done', own);
      expect(client.messages.map(({ jobId }) => jobId)).not.toContain(theirs);
      expect(JSON.stringify(client.messages)).not.toContain(victim.id);
    }
  });

  test.each(['', 'x', 'MS4tMg', 'MS45OTk5OTk5OTk5OTk5OTk5OTk5OQ', "' OR 1=1 --", '../..', '1.0'])(
    'a cursor that was never given leads nowhere: %j',
    async (sinceCursor) => {
      const client = await connect(intruder);
      client.send({ type: 'subscribe', scope: 'all', sinceCursor });
      expect(await client.message('error')).toMatchObject({ code: 'INVALID_CURSOR' });
    },
  );
});

describe('a socket is closed', () => {
  afterEach(async () => {
    expect((await target.call('GET', '/healthz')).status).toBe(200);
  });
  const ping = JSON.stringify({ type: 'ping' });
  const many = (count: number, bytes: Buffer): Buffer =>
    Buffer.concat(Array.from({ length: count }, () => bytes));
  const bomb = (): Buffer => deflateRawSync(Buffer.alloc(50_000_000, ' '));

  test.each<readonly [string, number | null, () => Buffer]>([
    ['a frame without a mask', 1002, () => frame(OPCODES.text, ping, { masked: false })],
    [
      'a compressed frame, which was not agreed on',
      1002,
      () => frame(OPCODES.text, bomb(), { compressed: true }),
    ],
    ['an opcode that does not exist', 1002, () => frame(5, ping)],
    ['a ping of 200 bytes', 1002, () => frame(OPCODES.ping, Buffer.alloc(200))],
    ['a ping in pieces', 1002, () => frame(OPCODES.ping, 'x', { fin: false })],
    ['the end of a message that never began', 1002, () => frame(OPCODES.continuation, ping)],
    ['a second message inside a first', 1002, () => many(2, frame(OPCODES.text, 'x', { fin: false }))],
    ['a text that is no UTF-8', 1007, () => frame(OPCODES.text, Buffer.from([0xff, 0xfe]))],
    ['a message of 64 KiB and a byte', 1009, () => frame(OPCODES.text, Buffer.alloc(65_537, ' '))],
    ['the promise of 4 EiB', 1009, () => frame(OPCODES.text, ping, { length: 2n ** 62n })],
    ['a length of 64 bits, the first set', 1009, () => frame(OPCODES.text, ping, { length: 2n ** 64n - 1n })],
    [
      'a message of 64 KiB and more in pieces',
      1009,
      () =>
        Buffer.concat([
          frame(OPCODES.text, Buffer.alloc(40_000, ' '), { fin: false }),
          frame(OPCODES.continuation, Buffer.alloc(40_000, ' ')),
        ]),
    ],
    [
      'pieces of nothing without end',
      1008,
      () =>
        Buffer.concat([
          frame(OPCODES.text, 'x', { fin: false }),
          many(20_000, frame(OPCODES.continuation, '', { fin: false })),
        ]),
    ],
    ['a flood of messages', 1008, () => many(2_000, frame(OPCODES.text, ping))],
    ['a flood of nonsense', 1008, () => many(200, frame(OPCODES.text, '{'))],
    ['a flood of binary messages', 1008, () => many(200, frame(OPCODES.binary, 'x'))],
    ['a flood of answers to heartbeats that nobody sent', 1008, () => many(2_000, frame(OPCODES.pong, 'x'))],
  ])('for %s', async (_, code, bytes) => {
    const raw = await RawWebSocket.open(target.wsBase, intruder.apiKey);
    onTestFinished(() => raw.destroy());
    raw.send(bytes());
    expect(await raw.closed()).toBe(code);
  });

  test('for a flood of heartbeats, sent slowly enough to be answered', async () => {
    const raw = await RawWebSocket.open(target.wsBase, intruder.apiKey);
    onTestFinished(() => raw.destroy());
    for (let sent = 0; sent < 2_000 && !raw.ended; sent++) {
      raw.send(frame(OPCODES.ping, 'x'));
      await new Promise((resolve) => setImmediate(resolve));
    }
    expect(await raw.closed()).toBe(1008);
  });

  test('for heartbeats whose answers it does not read', async () => {
    const raw = await RawWebSocket.open(target.wsBase, intruder.apiKey);
    onTestFinished(() => raw.destroy());
    raw.socket.pause();
    raw.send(many(200_000, frame(OPCODES.ping, Buffer.alloc(100))));
    raw.socket.resume();
    await raw.closed();
  });
});

describe('a handshake', () => {
  test('agrees on no compression, however often it is offered', async () => {
    const raw = await RawWebSocket.open(target.wsBase, intruder.apiKey, [
      'Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits, x-webkit-deflate-frame',
    ]);
    onTestFinished(() => raw.destroy());
    expect(raw.text).not.toMatch(/sec-websocket-extensions/i);
  });

  test.each<readonly [string, Record<string, string>]>([
    ['another site', { origin: 'https://evil.example' }],
    ['a sandboxed page', { origin: 'null' }],
    ['a file', { origin: 'file://' }],
    ['a page of a name that begins like ours', { origin: 'http://127.0.0.1.evil.example' }],
    ['a page of another port', { origin: 'http://127.0.0.1:1' }],
    ['what is no origin', { origin: '*' }],
  ])('of %s is refused, with a good token too', async (_, headers) => {
    const client = new LiveClient(`${target.wsBase}/ws?token=${victim.apiKey}`, { headers });
    await expect(client.closed).rejects.toThrow('403');
  });

  test.each<readonly [string, () => string]>([
    ['nothing', () => ''],
    ['a refresh token', () => victim.refreshToken],
    ['a key that does not exist', () => `ak_${'A'.repeat(43)}`],
    ['a token without its signature', () => victim.accessToken.replace(/[^.]*$/, '')],
    ["someone's id", () => victim.id],
  ])('with %s for a token ends at once, and tells nothing', async (_, token) => {
    const client = new LiveClient(`${target.wsBase}/ws?token=${token()}`);
    expect((await client.closed).code).toBe(1008);
    expect(client.messages).toEqual([]);
  });

  test('does not make good by one credential what another spoils', async () => {
    const headers = { 'x-api-key': victim.apiKey };
    const client = new LiveClient(`${target.wsBase}/ws?token=x.y.z`, { headers });
    expect((await client.closed).code).toBe(1008);
  });
});
