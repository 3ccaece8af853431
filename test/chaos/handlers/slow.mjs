import { setTimeout as delay } from 'node:timers/promises';

/** Takes as long as the payload says. */
export default {
  type: 'slow',
  async run({ milliseconds }, { signal }) {
    await delay(milliseconds, undefined, { signal });
    return { waited: milliseconds };
  },
};
