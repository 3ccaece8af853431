import { cp, mkdtemp, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { mutations } from './mutations.ts';
import type { Mutation } from './mutations.ts';
import { runTests } from './run-tests.ts';
import { startTestPostgres } from '../support/test-postgres.ts';

// `npm run test:mutations [-- <words of a guard>]`: docs/reliability.md says what it shows.

const ROOT = fileURLToPath(new URL('../../', import.meta.url));
/** What the tests need of the work tree. Other folders may be large, or change while this runs. */
const NEEDED = [
  'examples',
  'migrations',
  'package.json',
  'src',
  'test',
  'tsconfig.build.json',
  'tsconfig.json',
  'vitest.config.ts',
];

const { positionals } = parseArgs({ allowPositionals: true });
const words = positionals.join(' ');
const chosen = mutations.filter(({ guard }) => guard.includes(words));
if (chosen.length === 0) throw new Error(`No guard says “${words}”`);

/** In this folder alone: the work tree is never touched. */
const copy = await mkdtemp(path.join(tmpdir(), 'asyncly-mutations-'));
const postgres = await startTestPostgres();
try {
  for (const name of NEEDED) await cp(path.join(ROOT, name), path.join(copy, name), { recursive: true });
  await symlink(path.join(ROOT, 'node_modules'), path.join(copy, 'node_modules'), 'dir');
  // All at once, so that none is found not to fit after minutes.
  for (const mutation of chosen) await mutated(mutation);
  await expectGreen();
  const survivors: string[] = [];
  for (const mutation of chosen) if (!(await isNoticed(mutation))) survivors.push(mutation.guard);
  console.log(`\n${chosen.length} guards taken away, ${chosen.length - survivors.length} noticed`);
  if (survivors.length > 0) {
    console.log(`Nobody misses:\n  ${survivors.join('\n  ')}`);
    process.exitCode = 1;
  }
} finally {
  await postgres.stop();
  await rm(copy, { recursive: true, force: true });
}

/** @throws when the tests fail without any mutation: their red would mean nothing */
async function expectGreen(): Promise<void> {
  const runs = new Map(chosen.map(({ tests }) => [JSON.stringify(tests), tests]));
  for (const tests of runs.values()) {
    const { failed, passed } = await runTests(copy, tests, postgres.url);
    if (failed.length > 0 || passed === 0) {
      const what = failed.length > 0 ? `fails: ${failed.join(', ')}` : 'has no such tests';
      throw new Error(`Without a mutation ${tests.files.join(' ')} ${what}`);
    }
    console.log(`green  ${tests.files.join(' ')}${tests.names ? ` (${tests.names})` : ''}: ${passed} tests`);
  }
}

async function isNoticed(mutation: Mutation): Promise<boolean> {
  const file = path.join(copy, mutation.file);
  const original = await readFile(file, 'utf8');
  const began = performance.now();
  await writeFile(file, await mutated(mutation));
  try {
    const { failed } = await runTests(copy, mutation.tests, postgres.url);
    const seconds = Math.round((performance.now() - began) / 1_000);
    const [first] = failed;
    console.log(`${first === undefined ? 'GREEN' : 'red  '}  ${mutation.guard} (${seconds} s)`);
    if (first !== undefined) console.log(`         ${first}`);
    return first !== undefined;
  } finally {
    await writeFile(file, original);
  }
}

/** The file as the mutation leaves it. @throws when its text is not there exactly once */
async function mutated({ guard, file, find, replace }: Mutation): Promise<string> {
  const text = await readFile(path.join(copy, file), 'utf8');
  const parts = text.split(find);
  if (parts.length !== 2) throw new Error(`“${guard}”: its text is ${parts.length - 1} times in ${file}`);
  return parts.join(replace);
}
