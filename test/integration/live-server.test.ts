import { once } from 'node:events';
import { connect } from 'node:net';
import { expect, onTestFinished, test } from 'vitest';
import { WebSocket } from 'ws';
import { events } from '../support/job-spec.ts';
import { LiveClient } from '../support/live-client.ts';
import { startLive } from '../support/live.ts';
import type { TestJob } from '../support/live.ts';
import { eventually } from '../support/waiting.ts';

type Live = Awaited<ReturnType<typeof startLive>>;

/** What a raw HTTP/1.1 exchange is answered with, until the server closes or `until` has come. */
async function exchange(port: number, text: string, until?: string): Promise<string> {
  const socket = connect(port, '127.0.0.1');
  onTestFinished(() => void socket.destroy());
  let answer = '';
  socket.on('data', (chunk: Buffer) => (answer += chunk.toString()));
  socket.write(text);
  const ended = once(socket, 'close');
  if (until === undefined) await ended;
  else await eventually(() => answer.includes(until));
  return answer;
}

function upgradeRequest(path: string, headers = ''): string {
  return (
    `GET ${path} HTTP/1.1\r\nHost: service.example.com\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n` +
    `Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n${headers}\r\n`
  );
}

/** As any other request is that there is no room for. */
function expectTurnedAway(answer: string): void {
  const [head, body] = answer.split('\r\n\r\n');
  expect(head).toMatch(/^HTTP\/1\.1 503 /);
  expect(head!.split('\r\n')).toContain('Retry-After: 1');
  expect(JSON.parse(body!)).toEqual({
    success: false,
    message: 'Service temporarily unavailable, please try again',
  });
}

test('a credential is taken from the address, a header or the subprotocol, and from nowhere else', async () => {
  const live = await startLive();
  const { accessToken, apiKey, refreshToken } = await live.login();
  for (const token of [accessToken, apiKey]) {
    const bearer = { headers: { authorization: `Bearer ${token}` } };
    for (const client of [
      new LiveClient(`${live.base}/?token=${token}`),
      new LiveClient(`${live.base}?other=1&token=${token}`),
      new LiveClient(`${live.base}/ws`, bearer),
    ]) {
      await client.message('connected');
      await client.close();
    }
    for (const protocols of [
      ['asyncly', `bearer.${token}`],
      ['asyncly', token],
    ]) {
      const socket = new WebSocket(live.base, protocols);
      await once(socket, 'message');
      expect(socket.protocol).toBe('asyncly');
      socket.terminate();
    }
  }
  await new LiveClient(`${live.base}/ws`, { headers: { 'x-api-key': apiKey } }).message('connected');
  for (const [query, reason] of [
    ['', 'Access token required'],
    ['?token=', 'Access token required'],
    ['?token=nonsense', 'Access token required'],
    [`?token=${refreshToken}`, 'Access token required'],
    ['?token=ak_nonsense', 'Invalid API key'],
  ] as const) {
    expect(await new LiveClient(live.base + query).closed).toEqual({ code: 1008, reason });
  }
  const log = live.logLines.join('');
  for (const secret of [accessToken, apiKey, refreshToken]) expect(log).not.toContain(secret);
  expect(log).toContain('"msg":"websocket"');
});

test('only / and /ws are for sockets, and pages of other sites are kept out', async () => {
  const live = await startLive({ allowedOrigins: ['https://app.example.com'] });
  expect(await exchange(live.port, upgradeRequest('/api/jobs'))).toMatch(/^HTTP\/1\.1 404 /);
  expect(await exchange(live.port, upgradeRequest('/ws/more'))).toMatch(/^HTTP\/1\.1 404 /);
  for (const origin of [
    'https://evil.example.com',
    'null',
    'https://service.example.com.evil.com',
    'nonsense',
  ]) {
    const answer = await exchange(live.port, upgradeRequest('/ws', `Origin: ${origin}\r\n`));
    expect(answer).toMatch(/^HTTP\/1\.1 403 /);
  }
  for (const origin of [
    'https://app.example.com',
    'https://service.example.com',
    'http://service.example.com:80',
  ]) {
    const answer = await exchange(live.port, upgradeRequest('/ws', `Origin: ${origin}\r\n`), '\r\n\r\n');
    expect(answer).toMatch(/^HTTP\/1\.1 101 /);
  }
});

test('an offer to upgrade to something else is passed over, body and all', async () => {
  const live = await startLive();
  const request =
    'POST /api/jobs HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n' +
    'HTTP2-Settings: AAEAAEAAAAIAAAAB\r\nContent-Length: 11\r\n\r\n{"some":"th';
  expect(await exchange(live.port, request, '{"some":"th')).toContain('plain POST /api/jobs {"some":"th');
  // The rest of a body that comes later, and a second request on the same connection.
  const socket = connect(live.port, '127.0.0.1');
  onTestFinished(() => void socket.destroy());
  let answer = '';
  socket.on('data', (chunk: Buffer) => (answer += chunk.toString()));
  socket.write(request.replace('11', '14'));
  socket.write('ing');
  await eventually(() => answer.includes('{"some":"thing'));
  socket.write('GET /second HTTP/1.1\r\nHost: localhost\r\n\r\n');
  await eventually(() => answer.includes('plain GET /second'));
});

test('a message that is too large ends the connection', async () => {
  const live = await startLive();
  const client = await live.connect((await live.newUser()).token);
  client.send({ type: 'ping', filler: 'x'.repeat(65_000) });
  await client.message('pong');
  client.closed.catch(() => undefined);
  client.send({ type: 'ping', filler: 'x'.repeat(65_536) });
  expect(await client.closed).toMatchObject({ code: 1009 });
});

test('floods are cut off: of messages, and of nonsense', async () => {
  const live = await startLive({
    limits: { messages: { burst: 100, perSecond: 1 }, malformed: { burst: 5, perSecond: 0.1 } },
  });
  const { token } = await live.newUser();
  const [eager, confused] = [await live.connect(token), await live.connect(token)];
  for (let n = 0; n < 150; n++) eager.send({ type: 'ping' });
  expect(await eager.closed).toEqual({ code: 1008, reason: 'Too many messages' });
  expect(eager.messages.filter(({ type }) => type === 'pong')).toHaveLength(100);
  for (let n = 0; n < 10; n++) confused.send('what?');
  expect(await confused.closed).toEqual({ code: 1008, reason: 'Too many malformed messages' });
  expect(confused.messages.filter(({ type }) => type === 'error')).toHaveLength(5);
});

test('a user has only so many sockets, and a socket only so many subscriptions', async () => {
  const live = await startLive({ limits: { socketsPerUser: 2, subscriptions: 2 } });
  const [user, other] = [await live.newUser(), await live.newUser()];
  const [first] = [await live.connect(user.token), await live.connect(user.token)];
  const third = new LiveClient(`${live.base}?token=${user.token}`);
  expect(await third.closed).toEqual({
    code: 1013,
    reason: 'Too many connections: at most 2 for one user',
  });
  await live.connect(other.token);
  const jobs = await Promise.all([0, 1, 2].map(() => live.newJob(user.id)));
  for (const { id } of jobs.slice(0, 2)) await first.subscribe(id);
  first.send({ type: 'subscribe', jobId: jobs[2]!.id });
  expect(await first.message('error', jobs[2]!.id)).toMatchObject({ code: 'TOO_MANY_SUBSCRIPTIONS' });
  // One that is there already needs no place, and one that is left makes room.
  first.send({ type: 'subscribe', jobId: jobs[1]!.id });
  first.send({ type: 'unsubscribe', jobId: jobs[0]!.id });
  await first.subscribe(jobs[2]!.id);
  await first.close();
  await eventually(async () => {
    const again = new LiveClient(`${live.base}?token=${user.token}`);
    return again.message('connected', undefined, 1_000).catch(() => null);
  });
});

test('a process has only so many sockets, and says when to come again', async () => {
  const live = await startLive({ limits: { sockets: 1 } });
  const { token } = await live.newUser();
  await live.connect(token);
  expectTurnedAway(await exchange(live.port, upgradeRequest(`/ws?token=${token}`)));
});

test('a client that does not read is cut off, and the others are not held up', async () => {
  const live = await startLive();
  const user = await live.newUser();
  const [reader, sleeper] = [await live.connect(user.token), await live.connect(user.token)];
  for (const client of [reader, sleeper]) {
    client.send({ type: 'subscribe', scope: 'all' });
    await client.message('subscribed');
  }
  sleeper.pause();
  // More than the system keeps for a socket, and a mebibyte.
  const result = { text: 'x'.repeat(250_000) };
  const isCutOff = (): boolean => live.logLines.some((line) => line.includes('does not read'));
  let sent = 0;
  // Up to 40 MB, which is less than may wait for all clients together.
  while (!isCutOff() && sent < 160) {
    const jobs = await Promise.all(Array.from({ length: 10 }, () => live.newJob(user.id)));
    await Promise.all(jobs.map((job) => job.append(events.started(1), events.completed(1, { result }))));
    for (const job of jobs) await reader.message('job:done', job.id, 60_000);
    sent += jobs.length;
  }
  expect(isCutOff()).toBe(true);
  expect(reader.messages.filter(({ type }) => type === 'job:done')).toHaveLength(sent);
  expect(reader.isClosed).toBe(false);
  sleeper.resume();
  expect((await sleeper.closed).code).toBe(1006);
}, 120_000);

test('clients that are each a little behind are cut off as well, when all of them together are too much', async () => {
  const live = await startLive({ limits: { unreadBytes: 600_000 } });
  const user = await live.newUser();
  const clients = await Promise.all(Array.from({ length: 4 }, () => live.connect(user.token)));
  for (const client of clients) {
    client.send({ type: 'subscribe', scope: 'all' });
    await client.message('subscribed');
  }
  const [reader, ...sleepers] = clients;
  for (const sleeper of sleepers) sleeper.pause();
  const result = { text: 'x'.repeat(250_000) };
  const line = await eventually(async () => {
    const jobs = await Promise.all(Array.from({ length: 10 }, () => live.newJob(user.id)));
    await Promise.all(jobs.map((job) => job.append(events.started(1), events.completed(1, { result }))));
    for (const job of jobs) await reader!.message('job:done', job.id, 60_000);
    return live.logLines.find((text) => text.includes('does not read'));
  }, 90_000);
  expect((JSON.parse(line) as { buffered: number }).buffered).toBeLessThan(1_048_576);
  expect(reader!.isClosed).toBe(false);
  for (const sleeper of sleepers) sleeper.resume();
}, 120_000);

test('a token closes its sockets when it expires', async () => {
  const live = await startLive({ accessExpiresIn: '5s' });
  const { accessToken, apiKey } = await live.login();
  const [client, keyed] = [await live.connect(accessToken), await live.connect(apiKey)];
  expect(await client.closed).toEqual({ code: 1008, reason: 'Access token expired' });
  expect(keyed.isClosed).toBe(false);
});

test.each([
  ['at once, by the bus', { deaf: false, limits: { heartbeatMs: 600_000 } }],
  ['with the heartbeat, when the bus has lost it', { deaf: true, limits: { heartbeatMs: 1_000 } }],
])('a logout closes the sockets of its session %s', async (_, options) => {
  const live = await startLive(options);
  const { refreshToken, accessToken, apiKey } = await live.login();
  const refreshed = await live.identity.refresh(refreshToken);
  const ending = [await live.connect(accessToken), await live.connect(refreshed.accessToken)];
  const staying = await live.connect(apiKey);
  await live.identity.logout(refreshToken);
  for (const client of ending) expect(await client.closed).toEqual({ code: 1008, reason: 'Session ended' });
  expect(await new LiveClient(`${live.base}?token=${accessToken}`).closed).toMatchObject({ code: 1008 });
  staying.send({ type: 'ping' });
  await staying.message('pong');
});

test('a key that is taken away closes its sockets with the heartbeat', async () => {
  const live = await startLive({ limits: { heartbeatMs: 1_000 } });
  const { token } = await live.newUser();
  const client = await live.connect(token);
  await live.database.query('DELETE FROM api_keys');
  expect(await client.closed).toEqual({ code: 1008, reason: 'Session ended' });
});

test('a client that answers no heartbeat is cut off', async () => {
  const live = await startLive({ limits: { heartbeatMs: 1_000 } });
  const { token } = await live.newUser();
  const [silent, alive] = [await live.connect(token), await live.connect(token)];
  silent.pause();
  await eventually(() => live.logLines.some((line) => line.includes('"code":1006')));
  alive.send({ type: 'ping' });
  await alive.message('pong');
  silent.resume();
  expect((await silent.closed).code).toBe(1006);
});

test('stopping says goodbye to everyone, also to who does not answer', async () => {
  const live = await startLive({ limits: { stopMs: 200 } });
  const { token } = await live.newUser();
  const [client, silent] = [await live.connect(token), await live.connect(token)];
  silent.pause();
  await Promise.all([live.live.stop(), live.live.stop()]);
  expect(await client.closed).toEqual({ code: 1001, reason: 'Service stops' });
  expectTurnedAway(await exchange(live.port, upgradeRequest('/ws')));
  silent.resume();
  await silent.closed;
});

test('events wait for the read model that shows them, and come without the bus too', async () => {
  const live = await startLive({ projector: false, deaf: true });
  const user = await live.newUser();
  const client = await live.connect(user.token);
  const job = await live.newJob(user.id);
  expect(await client.subscribe(job.id)).toMatchObject({ revision: 0 });
  client.send({ type: 'subscribe', scope: 'all' });
  await live.run(job, 2);
  client.send({ type: 'subscribe', jobId: job.id, sinceRevision: -1 });
  await eventually(() => client.messages.filter(({ type }) => type === 'subscribed').length === 3);
  expect(client.messages.filter(({ type }) => type.startsWith('job:'))).toEqual([]);
  live.project();
  await client.message('job:done', job.id);
  expect(
    client.messages
      .filter(({ revision, type }) => type !== 'subscribed' && revision !== undefined)
      .map(({ revision }) => revision),
  ).toEqual([0, 1, 2, 3, 4]);
  // What it told of is there to be read.
  const { rows } = await live.database.query('SELECT status FROM jobs');
  expect(rows).toEqual([{ status: 'DONE' }]);
});

test('a log read model that has stopped holds up no job', async () => {
  const { jobsProjection } = await import('../../src/projections/jobs.ts');
  const live = await startLive({ projector: false });
  const user = await live.newUser();
  const job = await live.newJob(user.id);
  const client = await live.connect(user.token);
  await client.subscribe(job.id);
  await live.database.query(
    "INSERT INTO checkpoints (name, error) VALUES ('job_logs', 'as the test wants it')",
  );
  live.project([jobsProjection]);
  await live.run(job, 2);
  expect(await client.message('job:done', job.id)).toMatchObject({ revision: 4 });
});

test('who cannot take what comes while a subscription is set up has to come again', async () => {
  let release: () => void = () => undefined;
  const held = new Promise<void>((resolve) => (release = resolve));
  const reads: string[] = [];
  const live = await startLive({
    limits: { bufferedEvents: 5 },
    wrapStore: (store) => ({
      ...store,
      async read(stream, options) {
        reads.push(stream);
        await held;
        return store.read(stream, options);
      },
    }),
  });
  const user = await live.newUser();
  const [watched, job] = [await live.newJob(user.id), await live.newJob(user.id)];
  await watched.append(events.started(1));
  const client = await live.connect(user.token);
  client.send({ type: 'subscribe', scope: 'all' });
  await client.message('subscribed');
  await eventually(
    async () => (await live.database.query('SELECT FROM jobs WHERE revision = 1')).rowCount === 1,
  );
  client.send({ type: 'subscribe', jobId: watched.id, sinceRevision: -1 });
  await eventually(() => reads.length > 0 || client.messages.some(({ jobId }) => jobId === watched.id));
  await runAll(live, job, watched);
  expect(await client.closed).toMatchObject({ code: 1013 });
  release();
});

async function runAll(live: Live, job: TestJob, watched: TestJob): Promise<void> {
  await live.run(job, 3);
  await watched.append(events.completed(1));
}

test('clients are asked to come again when the feed breaks off', async () => {
  let broken = false;
  const live = await startLive({
    wrapStore: (store) => ({
      ...store,
      subscribe(options) {
        if (broken) return store.subscribe(options);
        broken = true;
        return (async function* () {
          for await (const message of store.subscribe(options)) {
            yield message;
            if (message.kind === 'events') throw new Error('as the test wants it');
          }
        })();
      },
    }),
  });
  const user = await live.newUser();
  const client = await live.connect(user.token);
  await live.newJob(user.id);
  expect(await client.closed).toMatchObject({ code: 1012 });
  const again = await live.connect(user.token);
  const job = await live.newJob(user.id);
  await again.subscribe(job.id);
  await live.run(job);
  await again.message('job:done', job.id);
});
