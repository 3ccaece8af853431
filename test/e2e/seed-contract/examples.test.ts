import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import type { AddressInfo } from 'node:net';
import { compileFunction } from 'node:vm';
import express from 'express';
import { expect, onTestFinished, test } from 'vitest';
import { WebSocket } from 'ws';
import { testSecrets } from '../../support/service.ts';
import { eventually } from '../../support/waiting.ts';
import { describeContract, EMAIL_JOB, PATIENCE_MS } from './contract.ts';

/**
 * Runs an example as it stands in the document, with these globals.
 * @param replaced what its reader puts in the place of the document's own values
 */
async function runExample(
  file: string,
  globals: Readonly<Record<string, unknown>>,
  replaced: Readonly<Record<string, string>> = {},
): Promise<void> {
  let source = await readFile(new URL(`examples/${file}`, import.meta.url), 'utf8');
  for (const [theirs, ours] of Object.entries(replaced)) {
    expect(source).toContain(theirs);
    source = source.replace(theirs, ours);
  }
  const run = compileFunction(source, Object.keys(globals)) as (...values: unknown[]) => void;
  run(...Object.values(globals));
}

/** The example subscribes right after it has made its socket; as a flow, that is once the connection is there. */
class SocketOfTheFlow extends WebSocket {
  override send(data: string): void {
    if (this.readyState === WebSocket.CONNECTING) this.once('open', () => super.send(data));
    else super.send(data);
  }
}

describeContract(
  'WebSocket › Example Flow',
  (contract) => {
    // Beside other tests, only its own context knows which one has ended.
    test('works as it stands', async ({ onTestFinished: afterwards }) => {
      const user = await contract.newUser();
      const { id } = await contract.submit(user, { type: 'generate-report', payload: {} });
      const sockets: WebSocket[] = [];
      class Socket extends SocketOfTheFlow {
        constructor(url: string) {
          super(url);
          sockets.push(this);
        }
      }
      afterwards(() => sockets.forEach((socket) => socket.terminate()));
      const printed: { type: string }[] = [];
      await runExample(
        'example-flow.txt',
        { WebSocket: Socket, console: { log: (message: { type: string }) => printed.push(message) } },
        {
          'wss://your-app.up.railway.app?token=eyJhbGci...': `${contract.service.wsBase}?token=${user.accessToken}`,
          cmpc20vzh0000x4ubhy1vc7so: id,
        },
      );
      const done = await eventually(() => printed.find(({ type }) => type === 'job:done'), PATIENCE_MS);
      expect(printed[0]).toMatchObject({ type: 'connected', message: 'WebSocket connected successfully' });
      expect(printed[1]).toMatchObject({ type: 'subscribed', jobId: id });
      expect(done).toMatchObject({
        status: 'DONE',
        jobId: id,
        result: (await contract.job(user, id)).result,
      });
    });
  },
  { HANDLER_TIME_SCALE: '0.5' },
  { sideBySide: true },
);

describeContract('Webhook › Signature Verification', (contract) => {
  /** The example on a server of its reader's, with what it printed and answered. */
  async function serveExample(secret: string) {
    const printed: string[] = [];
    const answers: number[] = [];
    const app = express();
    app.use((_req, res, next) => {
      res.once('finish', () => answers.push(res.statusCode));
      next();
    });
    app.use(express.json());
    await runExample('verify-webhook.txt', {
      app,
      require: createRequire(import.meta.url),
      process: { env: { ASYNCLY_WEBHOOK_SECRET: secret } },
      console: { log: (line: string) => printed.push(line) },
    });
    const server = app.listen(0, '127.0.0.1');
    await once(server, 'listening');
    onTestFinished(async () => {
      server.close();
      server.closeAllConnections();
      await once(server, 'close');
    });
    const { port } = server.address() as AddressInfo;
    return { url: `http://127.0.0.1:${port}/webhooks/asyncly`, printed, answers };
  }

  contract.special('the example accepts what the service sends', async () => {
    const { url, printed, answers } = await serveExample(testSecrets.WEBHOOK_SECRET);
    const user = await contract.newUser();
    const { id } = await contract.submit(user, { ...EMAIL_JOB, webhookUrl: url });
    await eventually(() => answers.length > 0, PATIENCE_MS);
    expect(answers).toEqual([200]);
    expect(printed).toEqual([`Job ${id} finished with status: DONE`]);
  });

  contract.special('the example refuses it under another secret', async () => {
    const { url, printed, answers } = await serveExample('some other secret');
    const user = await contract.newUser();
    await contract.submit(user, { ...EMAIL_JOB, webhookUrl: url });
    await eventually(() => answers.length > 0, PATIENCE_MS);
    expect(answers[0]).toBe(401);
    expect(printed).toEqual([]);
  });
});
