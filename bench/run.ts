import { Command, InvalidArgumentError } from 'commander';
import { startEnvironment } from './lib/environment.ts';
import type { Environment } from './lib/environment.ts';
import { print, write } from './lib/report.ts';
import type { Result } from './lib/report.ts';
import type { Figures, Scale, Scenario } from './lib/scenario.ts';
import { appendScenario } from './scenarios/append.ts';
import { drainScenarios } from './scenarios/drain.ts';
import { endToEndScenario } from './scenarios/end-to-end.ts';
import { getScenario } from './scenarios/get.ts';
import { latencyScenarios } from './scenarios/latency.ts';
import { listScenario } from './scenarios/list.ts';
import { submitScenario } from './scenarios/submit.ts';

const scenarios: readonly Scenario[] = [
  submitScenario,
  ...drainScenarios,
  endToEndScenario,
  ...latencyScenarios,
  getScenario,
  listScenario,
  appendScenario,
];

/** Each round measures all, one after the other, so that what the machine does meanwhile hits them alike. */
async function measure(
  scenario: Scenario,
  environment: Environment,
  rounds: number,
  scale: Scale,
): Promise<Result> {
  const figures = new Map<string, Figures[]>();
  for (let round = 1; round <= rounds; round++) {
    for (const measured of scenario.measured) {
      const { name } = measured;
      process.stderr.write(`${scenario.name}, round ${round} of ${rounds}: ${name}\n`);
      figures.set(name, [...(figures.get(name) ?? []), await measured.measure(environment, scale)]);
    }
  }
  return { scenario, rounds: figures };
}

function wholeNumber(text: string): number {
  if (!/^[1-9]\d*$/.test(text)) throw new InvalidArgumentError('It has to be a whole number from 1 on.');
  return Number(text);
}

interface Options {
  readonly only?: readonly string[];
  readonly rounds: number;
  readonly quick: boolean;
}

const { only, rounds, quick } = new Command('bench')
  .description('Measures the service beside its peers on the same Postgres and Redis.')
  .option('--only <names...>', `of ${scenarios.map(({ name }) => name).join(', ')}`)
  .option('--rounds <n>', 'how often each is measured', wholeNumber, 3)
  .option('--quick', 'little of everything, to see that it works', false)
  .parse()
  .opts<Options>();

const unknown = only?.filter((name) => !scenarios.some((scenario) => scenario.name === name)) ?? [];
if (unknown.length > 0) {
  console.error(
    `There is no ${unknown.join(', ')}. There are: ${scenarios.map(({ name }) => name).join(', ')}`,
  );
  process.exit(2);
}
const environment = await startEnvironment();
let met = true;
try {
  for (const scenario of scenarios) {
    if (only && !only.includes(scenario.name)) continue;
    const result = await measure(scenario, environment, rounds, { quick });
    met = print(result) && met;
    await write(result, quick);
  }
} finally {
  await environment.stop();
}
process.exitCode = met ? 0 : 1;
