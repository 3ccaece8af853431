import { mkdir, writeFile } from 'node:fs/promises';
import { availableParallelism, cpus, totalmem } from 'node:os';
import path from 'node:path';
import type { Figures, Medians, Scenario, Target } from './scenario.ts';
import { median } from './stats.ts';

export interface Result {
  readonly scenario: Scenario;
  /** By name of what was measured: the figures of each round. */
  readonly rounds: ReadonlyMap<string, readonly Figures[]>;
}

/** From where npm starts scripts. */
const RESULTS = path.resolve('bench/results');

/** Prints a scenario's medians and what became of its targets. @returns whether all were met */
export function print({ scenario, rounds }: Result): boolean {
  console.log(`\n${scenario.name}: ${scenario.title}`);
  console.table(
    Object.fromEntries(
      [...rounds].map(([name, all]) => [name, mapFigures(all, (values) => rounded(median(values)))]),
    ),
  );
  const outcomes = scenario.targets.map((target) => judge(target, mediansOf(rounds)));
  for (const { line } of outcomes) console.log(line);
  return outcomes.every(({ met }) => met);
}

function judge(target: Target, medians: Medians): { line: string; met: boolean } {
  const value = target.value(medians);
  const { atLeast, atMost } = target;
  const met = value >= (atLeast ?? -Infinity) && value <= (atMost ?? Infinity);
  const wanted = atLeast === undefined ? `at most ${atMost}` : `at least ${atLeast}`;
  return { line: `  ${met ? 'met   ' : 'MISSED'} ${target.text}: ${rounded(value)} (${wanted})`, met };
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

/** Writes every round's figures to `bench/results/<scenario>.json`. */
export async function write(result: Result, quick: boolean): Promise<void> {
  await mkdir(RESULTS, { recursive: true });
  const { name, title } = result.scenario;
  const medians = mediansOf(result.rounds);
  const file = {
    scenario: name,
    title,
    quick,
    at: new Date().toISOString(),
    machine: {
      cpu: cpus()[0]?.model,
      cores: availableParallelism(),
      memoryGb: Math.round(totalmem() / 2 ** 30),
      node: process.version,
    },
    medians: Object.fromEntries(
      [...result.rounds].map(([key, all]) => [key, mapFigures(all, (values) => median(values))]),
    ),
    targets: result.scenario.targets.map((target) => ({
      text: target.text,
      value: target.value(medians),
      atLeast: target.atLeast,
      atMost: target.atMost,
    })),
    rounds: Object.fromEntries(result.rounds),
  };
  await writeFile(path.join(RESULTS, `${name}.json`), `${JSON.stringify(file, null, 2)}\n`);
}
