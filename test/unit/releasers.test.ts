import { describe, expect, it } from 'vitest';
import { Releasers } from '../../src/releasers.ts';
import { silentLogger } from '../support/database.ts';
import { createGate } from '../support/waiting.ts';

describe('Releasers', () => {
  it('gives back last in, first out, each once', async () => {
    const released: string[] = [];
    const releasers = new Releasers(silentLogger);
    for (const name of ['postgres', 'store', 'server']) {
      releasers.push(name, () => Promise.resolve(void released.push(name)));
    }
    await releasers.releaseAll();
    await releasers.releaseAll();
    expect(released).toEqual(['server', 'store', 'postgres']);
  });

  it('goes on when one fails', async () => {
    const released: string[] = [];
    const releasers = new Releasers(silentLogger);
    releasers.push('postgres', () => Promise.resolve(void released.push('postgres')));
    releasers.push('store', () => Promise.reject(new Error('no')));
    releasers.push('queue', () => {
      throw new Error('not even a promise');
    });
    await releasers.releaseAll();
    expect(released).toEqual(['postgres']);
  });

  it('releases one after the other when it is called twice at once, and both calls wait for the end', async () => {
    const steps: string[] = [];
    const gate = createGate();
    const releasers = new Releasers(silentLogger);
    releasers.push('postgres', () => Promise.resolve(void steps.push('postgres')));
    releasers.push('server', async () => {
      steps.push('server stopping');
      await gate.opened;
      steps.push('server stopped');
    });
    const both = Promise.all([releasers.releaseAll(), releasers.releaseAll()]);
    await new Promise((resolve) => setImmediate(resolve));
    expect(steps).toEqual(['server stopping']);
    gate.open();
    await both;
    expect(steps).toEqual(['server stopping', 'server stopped', 'postgres']);
  });

  it('also gives back what was acquired while it was releasing', async () => {
    const released: string[] = [];
    const releasers = new Releasers(silentLogger);
    releasers.push('first', () => {
      releasers.push('late', () => Promise.resolve(void released.push('late')));
      return Promise.resolve(void released.push('first'));
    });
    await releasers.releaseAll();
    expect(released).toEqual(['first', 'late']);
  });
});
