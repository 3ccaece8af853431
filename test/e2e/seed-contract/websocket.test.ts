import { randomUUID } from 'node:crypto';
import jwt from 'jsonwebtoken';
import { expect, onTestFinished, test } from 'vitest';
import { LiveClient } from '../../support/live-client.ts';
import { testSecrets } from '../../support/service.ts';
import { anInstant, anyText, describeContract, EMAIL_JOB } from './contract.ts';
import type { Contract, User } from './contract.ts';

/** A socket at `ws://host:port` plus the given query, closed after the test. */
function open(contract: Contract, query: string): LiveClient {
  const client = new LiveClient(contract.service.wsBase + query);
  onTestFinished(() => client.close());
  return client;
}

async function connect(contract: Contract, { accessToken }: User): Promise<LiveClient> {
  const client = open(contract, `?token=${accessToken}`);
  await client.message('connected');
  return client;
}

function expired(accessToken: string): string {
  const claims = jwt.decode(accessToken, { json: true })!;
  const times = { iat: claims.iat! - 1_000, exp: claims.iat! - 100 };
  return jwt.sign({ ...claims, ...times }, testSecrets.JWT_ACCESS_SECRET, { algorithm: 'HS256' });
}

describeContract('WebSocket › Connection', (contract) => {
  test('ws://localhost:3000?token=<accessToken>', async () => {
    const { accessToken } = await contract.newUser();
    const client = open(contract, `?token=${accessToken}`);
    expect(await client.message('connected')).toMatchObject({
      type: 'connected',
      message: 'WebSocket connected successfully',
    });
    expect(client.messages).toHaveLength(1);
  });

  test('rejected with code 1008 if the token is missing or invalid', async () => {
    const { refreshToken } = await contract.newUser();
    for (const query of ['', '?token=', '?token=eyJhbGci...', `?token=${refreshToken}`]) {
      const client = open(contract, query);
      expect(await client.closed).toMatchObject({ code: 1008 });
      expect(client.messages.filter(({ type }) => type !== 'error')).toEqual([]);
    }
  });

  contract.special('rejected with code 1008 if the token is invalid: expired', async () => {
    const { accessToken } = await contract.newUser();
    expect(await open(contract, `?token=${expired(accessToken)}`).closed).toMatchObject({ code: 1008 });
  });
});

describeContract(
  'WebSocket › Messages from Client to Server',
  (contract) => {
    test('subscribe', async () => {
      const user = await contract.newUser();
      const client = await connect(contract, user);
      const { id } = await contract.submit(user);
      expect(await client.subscribe(id)).toMatchObject({ type: 'subscribed', jobId: id });
    });

    contract.special("subscribe: nobody hears of another user's job", async () => {
      const [user, other] = [await contract.newUser(), await contract.newUser()];
      const { job, release } = await contract.hold(other);
      const [client, owner] = [await connect(contract, user), await connect(contract, other)];
      for (const jobId of [job.id, randomUUID()]) client.send({ type: 'subscribe', jobId });
      await owner.subscribe(job.id);
      await release();
      await owner.message('job:done', job.id);
      const own = await contract.submit(user);
      await client.subscribe(own.id);
      await client.message('job:done', own.id);
      expect(client.messages.filter(({ type, jobId }) => type !== 'error' && jobId === job.id)).toEqual([]);
    });

    // One job at a time: the second runs after the first, and the third after both.
    contract.special('unsubscribe', async () => {
      const user = await contract.newUser();
      const [client, witness] = [await connect(contract, user), await connect(contract, user)];
      const { release } = await contract.hold(user);
      const left = await contract.submit(user);
      const kept = await contract.submit(user);
      for (const { id } of [left, kept]) {
        await client.subscribe(id);
        await witness.subscribe(id);
      }
      client.send({ type: 'unsubscribe', jobId: left.id });
      client.send({ type: 'ping' });
      await client.message('pong');
      await release();
      await witness.message('job:done', left.id);
      await client.message('job:done', kept.id);
      expect(
        client.messages.filter(({ type, jobId }) => type.startsWith('job:') && jobId === left.id),
      ).toEqual([]);
    });

    test('ping', async () => {
      const client = await connect(contract, await contract.newUser());
      client.send({ type: 'ping' });
      expect(await client.message('pong')).toMatchObject({ type: 'pong' });
      expect(client.isClosed).toBe(false);
    });
  },
  { WORKER_CONCURRENCY: '1' },
);

describeContract(
  'WebSocket › Events from Server to Client',
  (contract) => {
    /** A job that has not begun when its user subscribes to it. */
    async function watch(body: object) {
      const user = await contract.newUser();
      const client = await connect(contract, user);
      const { release } = await contract.hold(user);
      const { id } = await contract.submit(user, body);
      const subscribed = await client.subscribe(id);
      await release();
      return { user, client, id, subscribed };
    }

    test('connected', async () => {
      const client = await connect(contract, await contract.newUser());
      expect(client.messages[0]).toMatchObject({ type: 'connected', message: anyText });
    });

    contract.special('subscribed', async () => {
      const { subscribed, id } = await watch(EMAIL_JOB);
      expect(subscribed).toMatchObject({ type: 'subscribed', jobId: id });
    });

    contract.special('job:processing', async () => {
      const { client, id } = await watch(EMAIL_JOB);
      expect(await client.message('job:processing', id)).toMatchObject({
        type: 'job:processing',
        status: 'PROCESSING',
        jobId: id,
      });
    });

    contract.special('job:done', async () => {
      const { client, id, user } = await watch(EMAIL_JOB);
      const done = await client.message('job:done', id);
      expect(done).toMatchObject({
        type: 'job:done',
        status: 'DONE',
        result: { sent: true, timestamp: anInstant },
        jobId: id,
      });
      const job = await contract.job(user, id);
      expect(job).toMatchObject({ status: 'DONE', result: done['result'] });
      const order = client.messages.filter(({ jobId }) => jobId === id).map(({ type }) => type);
      expect(order.filter((type) => ['subscribed', 'job:processing', 'job:done'].includes(type))).toEqual([
        'subscribed',
        'job:processing',
        'job:done',
      ]);
    });

    contract.special('job:failed: after all retries', async () => {
      const { client, id, user } = await watch({ type: 'fail', payload: {} });
      expect(await client.message('job:failed', id)).toMatchObject({
        type: 'job:failed',
        status: 'FAILED',
        error: 'The mail server is down',
        jobId: id,
      });
      expect(await contract.job(user, id)).toMatchObject({ status: 'FAILED' });
      const types = client.messages.filter(({ jobId }) => jobId === id).map(({ type }) => type);
      expect(types.filter((type) => type === 'job:failed')).toHaveLength(1);
      expect(types.filter((type) => type === 'job:processing')).toHaveLength(3);
    });
  },
  { WORKER_CONCURRENCY: '1' },
);
