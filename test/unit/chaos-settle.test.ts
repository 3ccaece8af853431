import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { expect, it, onTestFinished } from 'vitest';
import { recoveryFromNow, untilReady } from '../chaos/settle.ts';
import type { Stage } from '../chaos/stage.ts';

/** A stage of one api that answers `/readyz` with this status, once the parts are there. */
async function stageWith(status: number, parts: Promise<void> = Promise.resolve()): Promise<Stage> {
  const server = createServer((_, res) => res.writeHead(status).end('{}'));
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  onTestFinished(() => void server.close());
  const { port } = server.address() as AddressInfo;
  return {
    postgres: { ready: () => parts },
    members: [{ name: 'api-1', up: () => Promise.resolve() }],
    links: [{ name: 'api-1', to: 'api', proxy: { port } }],
  } as unknown as Stage;
}

it('is content with what is ready in time', async () => {
  await untilReady(await stageWith(200), recoveryFromNow());
});

it('tells what is not ready', async () => {
  await expect(untilReady(await stageWith(503), recoveryFromNow(100))).rejects.toThrow('/readyz answers 503');
});

it('does not take what is ready after the deadline, nor wait for it longer', async () => {
  await expect(untilReady(await stageWith(200), recoveryFromNow(-1))).rejects.toThrow('Not in the time');
  const never = new Promise<void>(() => undefined);
  await expect(untilReady(await stageWith(200, never), recoveryFromNow(50))).rejects.toThrow(
    'Not in the time that a recovery has: Postgres answers',
  );
});
