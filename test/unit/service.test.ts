import { once } from 'node:events';
import { describe, expect, it } from 'vitest';
import { sleep } from '../../src/waiting.ts';
import { startLoop } from '../../src/service.ts';
import { createGate } from '../support/waiting.ts';

describe('startLoop', () => {
  it('ends by its signal, and stop waits for what is under way, however often it is called', async () => {
    const goOn = createGate();
    const steps: string[] = [];
    const service = startLoop(async (signal) => {
      await once(signal, 'abort');
      steps.push('told');
      await goOn.opened;
      steps.push('ended');
    });
    const stops = [service.stop(), service.stop()];
    await new Promise((resolve) => setImmediate(resolve));
    expect(steps).toEqual(['told']);
    goOn.open();
    await Promise.all(stops);
    expect(steps).toEqual(['told', 'ended']);
  });

  it('tells a failure to whoever stops it', async () => {
    const service = startLoop(() => Promise.reject(new Error('broken')));
    await new Promise((resolve) => setImmediate(resolve));
    await expect(service.stop()).rejects.toThrow('broken');
  });
});

describe('sleep', () => {
  it('returns at once when the signal aborts, or has aborted', async () => {
    const stopping = new AbortController();
    const sleeping = sleep(3_600_000, stopping.signal);
    stopping.abort();
    await sleeping;
    await sleep(3_600_000, stopping.signal);
  });
});
