import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFile, rm } from 'node:fs/promises';
import { createRequire } from 'node:module';
import path from 'node:path';
import type { JsonTestResults } from 'vitest/reporters';
import type { TestRun } from './mutations.ts';

const VITEST = path.join(
  path.dirname(createRequire(import.meta.url).resolve('vitest/package.json')),
  'vitest.mjs',
);
/** Milliseconds. A test has its own, shorter time: a run that takes longer says nothing about a guard. */
const LONGEST_RUN = 300_000;

/**
 * Runs tests in a copy of the work tree, until the first one fails.
 * @returns names of the tests that failed, and how many passed
 * @throws when they did not run at all, as with a file that cannot be loaded: that is no verdict
 */
export async function runTests(
  cwd: string,
  { files, names }: TestRun,
  postgresUrl: string,
): Promise<{ readonly failed: string[]; readonly passed: number }> {
  const report = path.join(cwd, 'report.json');
  await rm(report, { force: true });
  const child = spawn(
    process.execPath,
    [
      VITEST,
      'run',
      ...files,
      ...(names === undefined ? [] : ['-t', names]),
      '--bail=1',
      '--reporter=json',
      `--outputFile=${report}`,
    ],
    {
      cwd,
      env: { ...process.env, ASYNCLY_TEST_POSTGRES_URL: postgresUrl },
      stdio: ['ignore', 'pipe', 'pipe'],
    },
  );
  let said = '';
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding('utf8').on('data', (text: string) => (said += text));
  }
  const late = setTimeout(() => child.kill('SIGKILL'), LONGEST_RUN);
  const [, signal] = (await once(child, 'close')) as [number | null, string | null];
  clearTimeout(late);
  if (signal !== null) throw new Error(`${files.join(' ')} did not come to an end\n${said}`);
  const text = await readFile(report, 'utf8').catch(() => {
    throw new Error(`${files.join(' ')} did not run\n${said}`);
  });
  const { testResults, numPassedTests } = JSON.parse(text) as JsonTestResults;
  const failed = testResults.flatMap(({ assertionResults }) =>
    assertionResults.filter(({ status }) => status === 'failed').map(({ fullName }) => fullName),
  );
  const broken = testResults.find(({ status }) => status === 'failed');
  if (failed.length === 0 && broken)
    throw new Error(`${broken.name} did not run\n${broken.message}\n${said}`);
  return { failed, passed: numPassedTests };
}
