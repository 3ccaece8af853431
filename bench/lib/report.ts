import { execFile } from 'node:child_process';
import { availableParallelism, cpus, totalmem } from 'node:os';
import { promisify } from 'node:util';
import type { Environment } from './environment.ts';
import type { Figures, Medians, Scenario, Target } from './scenario.ts';
import { median } from './stats.ts';
import { writeResults } from './results.ts';

export interface Result {
  readonly scenario: Scenario;
  /** By name of what was measured: the figures of each round that went well. */
  readonly rounds: ReadonlyMap<string, readonly Figures[]>;
  readonly failures: readonly Failure[];
}

export interface Failure {
  readonly name: string;
  readonly round: number;
  readonly message: string;
}

/** What became of a target. */
export interface Outcome {
  readonly scenario: string;
  readonly target: Target;
  /** null: something it needs was not measured. */
  readonly value: number | null;
  readonly met: boolean;
}

/** Prints a scenario's medians and failures. @returns what became of its targets */
export function print({ scenario, rounds, failures }: Result): readonly Outcome[] {
  console.log(`\n${scenario.name}: ${scenario.title}`);
  console.table(
    Object.fromEntries(
      [...rounds].map(([name, all]) => [name, mapFigures(all, (values) => rounded(median(values)))]),
    ),
  );
  for (const { name, round, message } of failures)
    console.log(`  FAILED ${name}, round ${round}: ${message}`);
  const outcomes = scenario.targets.map((target) => judge(scenario, target, mediansOf(rounds)));
  for (const outcome of outcomes) {
    const { verdict, value, wanted } = inWords(outcome);
    console.log(
      `  ${verdict.padEnd(7)} ${outcome.target.text}: ${value}${wanted === '' ? '' : ` (${wanted})`}`,
    );
  }
  return outcomes;
}

/** Prints the targets of all scenarios together. */
export function printSummary(outcomes: readonly Outcome[]): void {
  console.log('\nAll together:');
  console.table(
    outcomes.map((outcome) => {
      const { verdict, value, wanted } = inWords(outcome);
      return { scenario: outcome.scenario, ratio: outcome.target.text, value, wanted, verdict };
    }),
  );
}

function judge({ name }: Scenario, target: Target, medians: Medians): Outcome {
  const { atLeast = -Infinity, atMost = Infinity } = target;
  try {
    const value = target.value(medians);
    return { scenario: name, target, value, met: value >= atLeast && value <= atMost };
  } catch (error) {
    if (!(error instanceof RangeError)) throw error;
    return { scenario: name, target, value: null, met: false };
  }
}

function inWords({ target, value, met }: Outcome): { verdict: string; value: string; wanted: string } {
  const { atLeast, atMost } = target;
  const wanted = [
    ...(atLeast === undefined ? [] : [`at least ${atLeast}`]),
    ...(atMost === undefined ? [] : [`at most ${atMost}`]),
  ].join(', ');
  if (value === null) return { verdict: 'UNKNOWN', value: 'not measured', wanted };
  const verdict = wanted === '' ? '' : met ? 'met' : 'MISSED';
  return { verdict, value: String(rounded(value)), wanted };
}

const mediansOf =
  (rounds: Result['rounds']): Medians =>
  (name, figure) => {
    const values = rounds.get(name)?.map((figures) => figures[figure]);
    if (!values?.every((value) => value !== undefined)) throw new RangeError(`No ${figure} of ${name}`);
    return median(values);
  };

function mapFigures(all: readonly Figures[], map: (values: readonly number[]) => number): Figures {
  const names = Object.keys(all[0] ?? {});
  return Object.fromEntries(names.map((name) => [name, map(all.map((figures) => figures[name]!))]));
}

const rounded = (value: number): number => Number(value.toPrecision(value >= 1_000 ? 4 : 3));

/** Where and on what the figures were taken. */
export async function describeRun(environment: Environment): Promise<object> {
  const git = async (...args: string[]): Promise<string> =>
    (await promisify(execFile)('git', args)).stdout.trim();
  // Without a repository, in an unpacked archive, there is no commit to tell.
  const commit = await git('rev-parse', 'HEAD').catch(() => null);
  const changed = await git('status', '--porcelain', 'src', 'bench', 'migrations', 'package-lock.json').catch(
    () => '',
  );
  return {
    commit,
    uncommitted: changed !== '',
    machine: {
      cpu: cpus()[0]?.model,
      cores: availableParallelism(),
      memoryGb: Math.round(totalmem() / 2 ** 30),
    },
    versions: { node: process.version, ...environment.versions },
  };
}

/** Writes every round's figures to `bench/results/<scenario>.json`. */
export async function write(result: Result, outcomes: readonly Outcome[], run: object): Promise<void> {
  const { name, title } = result.scenario;
  const file = {
    scenario: name,
    title,
    at: new Date().toISOString(),
    ...run,
    medians: Object.fromEntries(
      [...result.rounds].map(([key, all]) => [key, mapFigures(all, (values) => median(values))]),
    ),
    targets: outcomes.map(({ target: { text, atLeast, atMost }, value, met }) => ({
      text,
      value,
      atLeast,
      atMost,
      met,
    })),
    rounds: Object.fromEntries(result.rounds),
    failures: result.failures,
  };
  await writeResults(name, file);
}
