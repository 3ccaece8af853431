import { setMaxListeners } from 'node:events';
import { parseArgs } from 'node:util';
import { setup as compile } from '../support/compiled.ts';
import { Artefacts } from './artefacts.ts';
import { inNamespaceOfItsOwn } from './namespace.ts';
import { reportText } from './report.ts';
import { runChaos } from './run.ts';
import { DEPLOYMENTS } from './stage.ts';
import type { DeploymentKind } from './stage.ts';

const USAGE = `Usage: npm run test:chaos -- [options]

Runs the service under load while its processes, parts and connections fail, and
checks afterwards that nothing it had promised was lost. Exit code 1 when
something was, or when a fault could not be applied.
  --seed <n>          of faults and load; default 1
  --minutes <m>       of load and faults; default 2. At 10: 10,000 jobs of 1,000 users
  --deployment <kind> embedded or distributed; default both, one after the other
  --faults <names>    only kinds of faults with one of these in their name, e.g. redis,SIGSTOP
  --compiled          take dist as it is, instead of compiling the service first
  --keep              keep the artefacts of a run that went well, too
  --help              this text`;

interface Settings {
  readonly seed: number;
  readonly minutes: number;
  readonly deployments: readonly DeploymentKind[];
  readonly only: readonly string[];
  readonly compiled: boolean;
  readonly keep: boolean;
}

/** @throws Error about what cannot be understood */
function readSettings(): Settings | null {
  const { values } = parseArgs({
    options: {
      seed: { type: 'string', default: '1' },
      minutes: { type: 'string', default: '2' },
      deployment: { type: 'string' },
      faults: { type: 'string', default: '' },
      compiled: { type: 'boolean', default: false },
      keep: { type: 'boolean', default: false },
      help: { type: 'boolean', default: false },
    },
  });
  if (values.help) return null;
  const [seed, minutes] = [Number(values.seed), Number(values.minutes)];
  if (!Number.isSafeInteger(seed) || seed < 0) throw new Error('--seed must be a whole number');
  if (!(minutes > 0 && minutes <= 60)) throw new Error('--minutes must be more than 0 and at most 60');
  const deployments = DEPLOYMENTS.filter((kind) => (values.deployment ?? kind) === kind);
  if (deployments.length === 0) throw new Error(`--deployment must be ${DEPLOYMENTS.join(' or ')}`);
  const only = values.faults.split(',').filter((name) => name !== '');
  return { seed, minutes, deployments, only, compiled: values.compiled, keep: values.keep };
}

/** @returns whether every promise was kept */
async function runOne(deployment: DeploymentKind, settings: Settings, signal: AbortSignal): Promise<boolean> {
  const { seed, minutes, only, keep } = settings;
  const artefacts = new Artefacts();
  const say = (text: string): void => {
    console.log(text);
    artefacts.log('report', `${text}\n`);
  };
  let kept = false;
  try {
    say(`Chaos on the ${deployment} deployment, seed ${seed}, ${minutes} minutes`);
    const report = await runChaos({ seed, minutes, deployment, only, signal, artefacts, say });
    kept = report.violations.length === 0;
    say(`\n${reportText(report)}\n`);
  } finally {
    await artefacts.close();
    if (kept && !keep) await artefacts.remove();
    else console.log(`What the processes said: ${artefacts.folder}`);
  }
  return kept;
}

async function main(): Promise<number> {
  const settings = readSettings();
  if (settings === null) {
    console.log(USAGE);
    return 0;
  }
  const outside = await inNamespaceOfItsOwn();
  if (outside !== null) return outside;
  if (!settings.compiled) compile();
  const stop = new AbortController();
  // Each wait of each user listens.
  setMaxListeners(0, stop.signal);
  const breakOff = (): void => stop.abort(new Error('The run was broken off'));
  for (const event of ['SIGINT', 'SIGTERM', 'disconnect'] as const) process.once(event, breakOff);
  let kept = true;
  for (const deployment of settings.deployments)
    kept = (await runOne(deployment, settings, stop.signal)) && kept;
  return kept ? 0 : 1;
}

/** Ends the process, whatever is still under way in it: what it has started is killed with it. */
try {
  process.exit(await main());
} catch (error) {
  const text = error instanceof Error ? (error.stack ?? error.message) : String(error);
  process.stderr.write(`${text}\n`);
  process.exit(2);
}
