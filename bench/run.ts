import { Command, InvalidArgumentError } from 'commander';
import { startEnvironment } from './lib/environment.ts';
import type { Environment } from './lib/environment.ts';
import { describeRun, print, printSummary, write } from './lib/report.ts';
import type { Failure, Outcome, Result } from './lib/report.ts';
import type { Figures, Scale, Scenario } from './lib/scenario.ts';
import { appendScenario } from './scenarios/append.ts';
import { costsScenario } from './scenarios/costs.ts';
import { drainScenarios } from './scenarios/drain.ts';
import { endToEndScenario } from './scenarios/end-to-end.ts';
import { fanOutScenario } from './scenarios/fan-out.ts';
import { getScenarios } from './scenarios/get.ts';
import { growthScenario } from './scenarios/growth.ts';
import { latencyScenarios } from './scenarios/latency.ts';
import { listScenario } from './scenarios/list.ts';
import { memoryScenario } from './scenarios/memory.ts';
import { queueSubmitScenario } from './scenarios/queue-submit.ts';
import { rebuildScenario } from './scenarios/rebuild.ts';
import { soakScenario } from './scenarios/soak.ts';
import { submitScenario } from './scenarios/submit.ts';

const scenarios: readonly Scenario[] = [
  submitScenario,
  queueSubmitScenario,
  ...drainScenarios,
  endToEndScenario,
  costsScenario,
  ...latencyScenarios,
  ...getScenarios,
  listScenario,
  fanOutScenario,
  appendScenario,
  rebuildScenario,
  memoryScenario,
  soakScenario,
  growthScenario,
];

/**
 * Each round measures all, one after the other, so that what the machine does meanwhile hits them alike. One that fails costs the
 * others nothing.
 */
async function measure(
  scenario: Scenario,
  environment: Environment,
  rounds: number,
  scale: Scale,
  interrupted: AbortSignal,
): Promise<Result> {
  const figures = new Map<string, Figures[]>();
  const failures: Failure[] = [];
  for (let round = 1; round <= rounds; round++) {
    for (const measured of scenario.measured) {
      const { name } = measured;
      process.stderr.write(`${scenario.name}, round ${round} of ${rounds}: ${name}\n`);
      try {
        const taken = await measured.measure(environment, scale);
        figures.set(name, [...(figures.get(name) ?? []), taken]);
      } catch (error) {
        interrupted.throwIfAborted();
        process.stderr.write(`${error instanceof Error ? error.stack : String(error)}\n`);
        failures.push({ name, round, message: error instanceof Error ? error.message : String(error) });
      }
    }
  }
  return { scenario, rounds: figures, failures };
}

function wholeNumber(text: string): number {
  if (!/^[1-9]\d*$/.test(text)) throw new InvalidArgumentError('It has to be a whole number from 1 on.');
  return Number(text);
}

interface Options {
  readonly only?: readonly string[];
  readonly subjects?: readonly string[];
  readonly rounds: number;
  readonly quick: boolean;
}

const names = scenarios.map(({ name }) => name);
const { only, subjects, rounds, quick } = new Command('bench')
  .description('Measures the service beside its peers on the same Postgres and Redis.')
  .option('--only <names...>', `of ${names.join(', ')}; "drain" is every drain-…`)
  .option('--subjects <names...>', 'only these rows of the tables, e.g. asyncly baseline; for profiles')
  .option('--rounds <n>', 'how often each is measured', wholeNumber, 3)
  .option('--quick', 'little of everything, to see that it works', false)
  .parse()
  .opts<Options>();

const isMeant = (name: string, asked: string): boolean => name === asked || name.startsWith(`${asked}-`);
const unknown = only?.filter((asked) => !names.some((name) => isMeant(name, asked))) ?? [];
if (unknown.length > 0) {
  console.error(`There is no ${unknown.join(', ')}. There are: ${names.join(', ')}`);
  process.exit(2);
}
const chosen = scenarios
  .filter(({ name }) => only?.some((asked) => isMeant(name, asked)) ?? true)
  .map((scenario) => ({
    ...scenario,
    measured: scenario.measured.filter(({ name }) => subjects?.includes(name) ?? true),
  }));

const interruption = new AbortController();
const environment = await startEnvironment();
for (const [signal, code] of [
  ['SIGINT', 130],
  ['SIGTERM', 143],
] as const) {
  // Processes that were started are killed when this one exits; Postgres and the files have to be asked for.
  process.once(signal, () => {
    interruption.abort(new Error('Interrupted'));
    void environment.stop().finally(() => process.exit(code));
  });
}
const outcomes: Outcome[] = [];
let failed = false;
try {
  const run = { quick, ...(await describeRun(environment)) };
  for (const scenario of chosen) {
    const result = await measure(scenario, environment, rounds, { quick }, interruption.signal);
    const judged = print(result);
    outcomes.push(...judged);
    failed ||= result.failures.length > 0;
    await write(result, judged, run);
  }
} catch (error) {
  if (!interruption.signal.aborted) throw error;
} finally {
  await environment.stop();
}
printSummary(outcomes);
process.exitCode = !failed && outcomes.every(({ met }) => met) ? 0 : 1;
