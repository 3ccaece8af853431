import { once } from 'node:events';
import { setImmediate as nextTurn, setTimeout as delay } from 'node:timers/promises';
import { MessageChannel, Worker } from 'node:worker_threads';
import { describe, expect, it, onTestFinished } from 'vitest';
import { within } from '../../src/waiting.ts';

const late = () => new Error('too late');
const never = () => new Promise<never>(() => undefined);

describe('within', () => {
  it('gives the answer, or its error, when that comes first', async () => {
    await expect(within(Promise.resolve(1), 60_000, late)).resolves.toBe(1);
    await expect(within(Promise.reject(new Error('no')), 60_000, late)).rejects.toThrow('no');
  });

  it('gives up on what takes too long, and on what then fails', async () => {
    await expect(within(never(), 1, late)).rejects.toThrow('too late');
    const failing = delay(50).then(() => Promise.reject(new Error('no')));
    await expect(within(failing, 1, late)).rejects.toThrow('too late');
    await expect(failing).rejects.toThrow('no');
  });

  it('takes an answer that has arrived by then, though this process was too busy to look', async () => {
    const { port1, port2 } = new MessageChannel();
    const worker = new Worker(
      `const { parentPort, workerData } = require('node:worker_threads');
       workerData.port.once('message', (seen) => {
         workerData.port.postMessage('answer');
         Atomics.store(seen, 0, 1);
         Atomics.notify(seen, 0);
       });`,
      { eval: true, workerData: { port: port2 }, transferList: [port2] },
    );
    onTestFinished(async () => {
      await worker.terminate();
    });
    const answered = new Int32Array(new SharedArrayBuffer(4));
    const answer = once(port1, 'message').then(() => 'answer');
    // From here on the event loop looks at its timers first.
    await nextTurn();
    const outcome = within(answer, 1, late);
    port1.postMessage(answered);
    // Blocks until the answer has been sent, long after its time was up.
    Atomics.wait(answered, 0, 0);
    await expect(outcome).resolves.toBe('answer');
  });
});
