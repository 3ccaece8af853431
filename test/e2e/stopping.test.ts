import { once } from 'node:events';
import { connect } from 'node:net';
import { expect, onTestFinished, test } from 'vitest';
import { decodeEvent } from '../../src/events/codec.ts';
import { jobStream } from '../../src/events/job.ts';
import { holdable } from '../support/hold.ts';
import { httpClient, registerUser } from '../support/http-client.ts';
import { LiveClient } from '../support/live-client.ts';
import { describeWithRedis } from '../support/redis-server.ts';
import { Topology } from '../support/topology.ts';
import { eventually } from '../support/waiting.ts';

const DEADLINE_MS = 120_000;
const TEST_TIMEOUT_MS = 400_000;

async function start(counts: Parameters<Topology['start']>[0]) {
  const topology = new Topology();
  onTestFinished(() => topology.stop());
  await topology.start(counts);
  const { base, wsBase } = topology.running('api')[0]!;
  const { token } = await registerUser(base);
  const call = httpClient(base);
  const submit = async (body: object): Promise<string> => {
    const answer = await call('POST', '/api/jobs', { token, body: { payload: {}, ...body } });
    expect(answer.status).toBe(201);
    return (answer.body.data as { id: string }).id;
  };
  const get = async (id: string) => (await call('GET', `/api/jobs/${id}`, { token })).body.data;
  const eventsOf = async (id: string) => (await topology.store.read(jobStream(id))).map(decodeEvent);
  return { topology, base, wsBase, token, call, submit, get, eventsOf };
}

describeWithRedis('a process that is told to stop', () => {
  test(
    'a worker hands its jobs to another one, and no attempt is counted',
    async () => {
      const { topology, submit, get, eventsOf } = await start({ api: 1, worker: 2, dispatcher: 1 });
      const { body, release } = await holdable();
      const ids = await Promise.all(Array.from({ length: 6 }, () => submit(body)));
      const startsOf = async (id: string) =>
        (await eventsOf(id)).flatMap((event) => (event.type === 'JobStarted' ? [event.data] : []));
      const workerOf = await eventually(async () => {
        const workers = await Promise.all(
          ids.map(async (id) => {
            const { workerId = '' } = (await startsOf(id)).at(-1) ?? {};
            return [id, topology.running('worker').find(({ pid }) => workerId.includes(`-${pid}-`))] as const;
          }),
        );
        return workers.every(([, worker]) => worker !== undefined) && new Map(workers);
      }, DEADLINE_MS);
      const stopped = workerOf.get(ids[0]!)!;
      const handed = ids.filter((id) => workerOf.get(id) === stopped);
      expect(await stopped.end('SIGTERM')).toMatchObject({ code: 0 });
      for (const id of handed) expect((await eventsOf(id)).map(({ type }) => type)).toContain('JobReleased');

      const [successor] = topology.running('worker');
      for (const id of handed) {
        await eventually(async () => (await startsOf(id)).length === 2, DEADLINE_MS);
        expect((await startsOf(id))[1]).toMatchObject({
          attempt: 1,
          supersedes: null,
          workerId: expect.stringContaining(`-${successor!.pid}-`) as string,
        });
      }
      await release();
      for (const id of ids)
        await eventually(async () => {
          expect(await get(id)).toMatchObject({ status: 'DONE', attempt: 1, result: { held: true } });
          return true;
        }, DEADLINE_MS);
    },
    TEST_TIMEOUT_MS,
  );

  test(
    'projector and dispatcher give their leases to the standbys',
    async () => {
      const { topology, submit, token, call } = await start({
        api: 1,
        worker: 1,
        projector: 2,
        dispatcher: 2,
      });
      const done = async (count: number): Promise<void> => {
        await submit({ type: 'any' });
        await eventually(async () => {
          const { body } = await call('GET', '/api/jobs?status=DONE', { token });
          expect(body.meta).toMatchObject({ total: count });
          return true;
        }, DEADLINE_MS);
      };
      await done(1);
      for (const [index, role] of (['projector', 'dispatcher'] as const).entries()) {
        const active = await topology.holder(role);
        const standby = topology.running(role).find((one) => one !== active);
        expect(await active.end('SIGTERM')).toMatchObject({ code: 0 });
        // Free, or the standby's already: it does not have to wait until the lease runs out.
        expect(await topology.holder(role).catch(() => standby)).toBe(standby);
        await done(2 + index);
        expect(await topology.holder(role)).toBe(standby);
      }
    },
    TEST_TIMEOUT_MS,
  );

  test(
    'an api answers what it has begun, and sends its live clients elsewhere',
    async () => {
      const { topology, base, wsBase, token, eventsOf } = await start({ api: 1 });
      const live = new LiveClient(`${wsBase}/ws?token=${token}`);
      await live.message('connected');

      const { hostname, port } = new URL(base);
      const socket = connect(Number(port), hostname);
      onTestFinished(() => void socket.destroy());
      let answer = '';
      socket.setEncoding('utf8').on('data', (text: string) => (answer += text));
      const closed = once(socket, 'close');
      const body = JSON.stringify({ type: 'any', payload: { n: 1 } });
      socket.write(
        `POST /api/jobs HTTP/1.1\r\nHost: ${hostname}\r\nAuthorization: Bearer ${token}\r\n` +
          `Content-Type: application/json\r\nContent-Length: ${body.length}\r\nExpect: 100-continue\r\n\r\n`,
      );
      await eventually(() => answer.startsWith('HTTP/1.1 100 Continue'), DEADLINE_MS);

      const ended = topology.running('api')[0]!.end('SIGTERM');
      expect(await live.closed).toEqual({ code: 1001, reason: 'Service stops' });
      await eventually(
        () =>
          fetch(`${base}/healthz`).then(
            () => false,
            () => true,
          ),
        DEADLINE_MS,
      );
      socket.write(body);
      await closed;
      expect(await ended).toMatchObject({ code: 0 });
      expect(answer).toMatch(/^HTTP\/1\.1 201 Created\r\n/m);
      expect(answer).toMatch(/^connection: close\r\n/im);
      const id = /"id":"([^"]+)"/.exec(answer)?.[1] ?? '';
      expect(await eventsOf(id)).toMatchObject([{ type: 'JobCreated', data: { payload: { n: 1 } } }]);
    },
    TEST_TIMEOUT_MS,
  );
});
