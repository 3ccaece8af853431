import { z } from 'zod';

/** Whoever may submit jobs chooses the URL: only these hosts are asked, and redirects are not followed. */
const hosts = (process.env.CHECK_SITE_HOSTS ?? 'example.com').split(',');

/**
 * Asks a web site whether it is well: real work with a network, errors worth another attempt and errors that are not.
 * @type {import('../../src/workers/handler.ts').Handler}
 */
export default {
  type: 'check-site',
  payload: z.object({ url: z.url({ protocol: /^https?$/, error: 'url must be an http or https URL' }) }),
  timeoutMs: 15_000,

  async run({ url }, ctx) {
    const { host } = new URL(url);
    if (!hosts.includes(host)) {
      throw Object.assign(new Error(`${host} is not one of CHECK_SITE_HOSTS`), { retryable: false });
    }
    ctx.log(`GET ${url}`);
    const started = performance.now();
    // The signal ends the request when the job is cancelled, its time is up or the worker stops.
    const response = await fetch(url, { signal: ctx.signal, redirect: 'manual' });
    await response.body?.cancel();
    ctx.log(`Answered ${response.status}`);
    // Thrown errors are failed attempts: this job is tried again, with a growing wait.
    if (response.status >= 500) throw new Error(`${host} answered ${response.status}`);
    return { status: response.status, milliseconds: Math.round(performance.now() - started) };
  },
};
