import { createRequire } from 'node:module';

/** Of this build, as package.json has it. */
export const { version: VERSION } = createRequire(import.meta.url)('../../package.json') as {
  readonly version: string;
};
