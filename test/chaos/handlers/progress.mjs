import { setTimeout as delay } from 'node:timers/promises';

/** Reports its progress in steps. */
export default {
  type: 'progress',
  async run({ steps }, { signal, log, progress }) {
    for (let step = 1; step <= steps; step++) {
      await delay(50, undefined, { signal });
      log(`Step ${step}`);
      progress((100 * step) / steps);
    }
    return { steps };
  },
};
