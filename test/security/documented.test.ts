import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';

const ROOT = new URL('../../', import.meta.url);
const text = readFileSync(new URL('SECURITY.md', ROOT), 'utf8');

/** The third column of the table of attacks: names of tests. */
const named = [...text.matchAll(/^\|[^|]+\|[^|]+\|([^|]+)\|$/gm)]
  .flatMap(([, column = '']) => [...column.matchAll(/`([^`]+)`/g)])
  .map(([, name = '']) => (name.includes('/') ? name : `test/security/${name}`));

describe('SECURITY.md', () => {
  test('names tests that are there', () => {
    expect(named.length).toBeGreaterThan(30);
    const missing = named.filter(
      (name) => !existsSync(new URL(`${name}.test.ts`, ROOT)) && !existsSync(new URL(name, ROOT)),
    );
    expect(missing).toEqual([]);
  });

  test('names every file of this suite', () => {
    const files = readdirSync(new URL('test/security/', ROOT)).map(
      (file) => `test/security/${file.replace('.test.ts', '')}`,
    );
    expect(files.filter((file) => !named.includes(file) && !file.endsWith('documented'))).toEqual([]);
  });
});
