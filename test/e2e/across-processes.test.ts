import { afterAll, beforeAll, expect, onTestFinished, test } from 'vitest';
import { holdable } from '../support/hold.ts';
import { httpClient, registerUser } from '../support/http-client.ts';
import type { Answer } from '../support/http-client.ts';
import { LiveClient } from '../support/live-client.ts';
import type { LiveMessage } from '../support/live-client.ts';
import { describeWithRedis } from '../support/redis-server.ts';
import { Topology } from '../support/topology.ts';
import type { Member } from '../support/topology.ts';
import { eventually } from '../support/waiting.ts';

/** Processes start slowly on a machine that does other things as well. */
const START_MS = 240_000;
const DEADLINE_MS = 60_000;
const TEST_TIMEOUT_MS = 240_000;
const HOUR = 3_600_000;

/** A user's requests by way of one api. */
function by({ base }: Member, token: string) {
  const call = httpClient(base);
  const jobs = (method: string, route = '', body?: object): Promise<Answer> =>
    call(method, `/api/jobs${route}`, { token, ...(body !== undefined && { body }) });
  return {
    jobs,
    async submit(body: object): Promise<string> {
      const answer = await jobs('POST', '', { payload: {}, ...body });
      expect(answer.status).toBe(201);
      return (answer.body.data as { id: string }).id;
    },
    /** The job as a GET shows it, with its revision. */
    async get(id: string, query = ''): Promise<Record<string, unknown>> {
      const { status, headers, body } = await jobs('GET', `/${id}${query}`);
      expect(status).toBe(200);
      return { ...(body.data as object), revision: Number(headers.get('etag')?.replaceAll('"', '')) };
    },
  };
}

async function follow({ wsBase }: Member, token: string, jobId: string, sinceRevision: number) {
  const client = new LiveClient(`${wsBase}/ws?token=${token}`);
  onTestFinished(() => client.cut());
  await client.message('connected');
  client.send({ type: 'subscribe', jobId, sinceRevision });
  return client;
}

const revisionsOf = (messages: readonly LiveMessage[]) =>
  messages
    .filter(({ type, revision }) => type.startsWith('job:') && revision !== undefined)
    .map(({ type, revision }) => [type, revision]);

describeWithRedis('two apis and a worker in processes of their own', () => {
  const topology = new Topology({ RATE_LIMIT_JOBS_PER_MINUTE: '1000000' });
  beforeAll(() => topology.start({ api: 2, worker: 1, projector: 1, dispatcher: 1 }), START_MS);
  afterAll(() => topology.stop());

  async function newUser() {
    const [a, b] = topology.running('api') as [Member, Member];
    const { token } = await registerUser(a.base);
    return { token, a, b, here: by(a, token), there: by(b, token) };
  }

  test(
    'what one api has acknowledged is in the next answer of the other',
    async () => {
      const { here, there } = await newUser();
      const once = async (n: number): Promise<void> => {
        const [one, other] = n % 2 === 0 ? [here, there] : [there, here];
        const id = await one.submit({ type: 'any', payload: { n }, delayMs: HOUR });
        expect(await other.get(id)).toMatchObject({ status: 'PENDING', payload: { n }, revision: 0 });
        expect((await one.jobs('DELETE', `/${id}`)).status).toBe(200);
        expect(await other.get(id)).toMatchObject({ status: 'CANCELLED', revision: 1 });
        expect(await one.get(id)).toMatchObject({ status: 'CANCELLED', revision: 1 });
        expect((await other.jobs('POST', `/${id}/retry`)).status).toBe(200);
        expect(await one.get(id)).toMatchObject({ round: 2 });
      };
      for (let n = 0; n < 20; n += 2) await Promise.all([once(n), once(n + 1)]);
    },
    TEST_TIMEOUT_MS,
  );

  test(
    'what one api has shown of a job, the other shows to whoever asks for that revision',
    async () => {
      const { here, there } = await newUser();
      const once = async (): Promise<void> => {
        const id = await here.submit({ type: 'any' });
        for (let revision = 0; revision < 2;) {
          const shown = await here.get(id, `?minRevision=${revision + 1}`);
          revision = shown['revision'] as number;
          expect((await there.get(id, `?minRevision=${revision}`))['revision']).toBeGreaterThanOrEqual(
            revision,
          );
        }
        expect(await there.get(id, '?minRevision=2')).toMatchObject({ status: 'DONE', revision: 2 });
      };
      await Promise.all(Array.from({ length: 10 }, once));
    },
    TEST_TIMEOUT_MS,
  );

  test(
    'a job that runs in a worker is ended from any api, and followed from one to the other',
    async () => {
      const { token, a, b, here, there } = await newUser();
      const { body } = await holdable();
      const id = await here.submit(body);
      const before = await follow(b, token, id, -1);
      await before.message('job:processing', id, DEADLINE_MS);
      await before.cut();

      const cancelled = await here.jobs('DELETE', `/${id}?force=true`);
      expect(cancelled).toMatchObject({
        status: 200,
        body: { data: { status: 'PROCESSING', cancelRequested: true } },
      });
      // The worker may have obeyed by now: what is shown is at least as new.
      expect((await there.get(id))['revision']).toBeGreaterThanOrEqual(2);
      const last = revisionsOf(before.messages).at(-1)?.[1] as number;
      const after = await follow(a, token, id, last);
      await after.message('job:cancelled', id, DEADLINE_MS);
      expect(revisionsOf([...before.messages, ...after.messages])).toEqual([
        ['job:created', 0],
        ['job:processing', 1],
        ['job:cancel-requested', 2],
        ['job:cancelled', 3],
      ]);
      expect(await there.get(id)).toMatchObject({ status: 'CANCELLED', revision: 3 });
      // By the worker, that has stopped its handler, and not by the finisher in its place.
      const [ended] = await topology.store.read(`job-${id}`, { from: 3 });
      expect(ended!.metadata.actor.kind).toBe('worker');
      await eventually(
        async () =>
          (await topology.database.query('SELECT FROM open_work WHERE job_id = $1', [id])).rowCount === 0,
        DEADLINE_MS,
      );
    },
    TEST_TIMEOUT_MS,
  );
});
