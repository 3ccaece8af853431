import { once } from 'node:events';
import { setImmediate as nextTurn, setTimeout as delay } from 'node:timers/promises';
import { MessageChannel, Worker } from 'node:worker_threads';
import { describe, expect, it, onTestFinished } from 'vitest';
import { shared, within } from '../../src/waiting.ts';

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

describe('shared', () => {
  it('asks once for all who come while an answer is under way, and never gives an answer older than the question', async () => {
    const answers: (() => void)[] = [];
    let asked = 0;
    const ask = shared(async () => {
      const number = ++asked;
      await new Promise<void>((resolve) => answers.push(resolve));
      return number;
    });
    const first = ask();
    await nextTurn();
    const later = [ask(), ask(), ask()];
    answers[0]!();
    expect(await first).toBe(1);
    await nextTurn();
    answers[1]!();
    expect(await Promise.all(later)).toEqual([2, 2, 2]);
  });

  it('tells of a failure those who shared the question, and asks anew', async () => {
    let fails = true;
    const ask = shared(() => (fails ? Promise.reject(new Error('no')) : Promise.resolve('yes')));
    await expect(Promise.all([ask(), ask()])).rejects.toThrow('no');
    fails = false;
    await expect(ask()).resolves.toBe('yes');
  });
});
