import { once } from 'node:events';
import { writeFile } from 'node:fs/promises';
import { errorMessage } from '../../src/errors.ts';
import { createEventStoreDbEventStore } from '../../src/infrastructure/eventstoredb/event-store.ts';
import { createDatabase } from '../../src/infrastructure/postgres/database.ts';
import { createPostgresEventStore } from '../../src/infrastructure/postgres/event-store.ts';
import { Releasers } from '../../src/releasers.ts';
import { silentLogger } from '../support/database.ts';
import type { Artefacts } from './artefacts.ts';
import { inflictAll } from './faults/inflict.ts';
import { drawSchedule } from './faults/schedule.ts';
import { History } from './history.ts';
import { planJobs } from './job-plan.ts';
import { judge, redeliverAbandoned } from './judge.ts';
import { runLoad } from './load.ts';
import { Random } from './random.ts';
import { startFlakyReceiver } from './receiver.ts';
import type { Report } from './report.ts';
import { recoveryFromNow, untilReady, untilSettled } from './settle.ts';
import { apisOf, openStage } from './stage.ts';
import type { DeploymentKind, Stage } from './stage.ts';
import { createUsers } from './users.ts';

export interface RunOptions {
  readonly seed: number;
  readonly minutes: number;
  readonly deployment: DeploymentKind;
  /** Parts of names of kinds of faults; empty for all. */
  readonly only: readonly string[];
  readonly signal: AbortSignal;
  readonly artefacts: Artefacts;
  readonly say: (text: string) => void;
}

/** At ten minutes this comes to 10,000 jobs of 1,000 users. */
const JOBS_PER_MINUTE = 1_000;
const USERS_PER_MINUTE = 100;

/** One run from nothing to its report. @throws when it could not be carried out, or was broken off */
export async function runChaos(options: RunOptions): Promise<Report> {
  const { deployment, artefacts, signal } = options;
  const releasers = new Releasers(silentLogger);
  const over = new AbortController();
  try {
    const stage = await openStage(deployment, artefacts);
    releasers.push('stage', () => stage.stop());
    const run = strain(stage, options, releasers);
    // A run that is broken off does not wait for what it waits for; cleaning up ends it.
    run.catch(() => undefined);
    return await Promise.race([run, untilAborted(signal, over.signal)]);
  } finally {
    over.abort();
    await releasers.releaseAll();
  }
}

/** Rejects when the signal aborts, with its reason. @param over ends the wait */
async function untilAborted(signal: AbortSignal, over: AbortSignal): Promise<never> {
  if (!signal.aborted) await once(signal, 'abort', { signal: over });
  throw signal.reason;
}

async function strain(stage: Stage, options: RunOptions, releasers: Releasers): Promise<Report> {
  const { seed, minutes, only, signal, say, artefacts } = options;
  const elapsed = stopwatch();
  const { database, store } = openParts(stage, releasers);
  const receiver = await startFlakyReceiver();
  releasers.push('receiver', () => receiver.close());
  const random = new Random(seed);
  const [forFaults, forJobs] = [random.fork(), random.fork()];
  const schedule = drawSchedule(forFaults, stage, minutes * 60, only);
  say(`${schedule.length} faults:`);
  for (const { fault, at } of schedule)
    say(`  ${at} s: ${fault.kind}, ${fault.target}${fault.seconds > 0 ? `, for ${fault.seconds} s` : ''}`);
  const users = await createUsers(database, Math.max(1, Math.round(USERS_PER_MINUTE * minutes)));
  const plans = planJobs(forJobs, users.length);
  const jobs = Math.round(JOBS_PER_MINUTE * minutes);
  await untilReady(stage, recoveryFromNow());
  say(`Up. ${jobs} jobs of ${users.length} users.`);

  const history = new History();
  const faultsOver = new AbortController();
  const pace = { plans, jobs, overMs: minutes * 60_000, until: faultsOver.signal };
  const load = runLoad({ ...pace, users, apis: apisOf(stage), receiver, history, signal });
  // Awaited below; until then a failure of the faults comes first.
  load.catch(() => undefined);
  const faults = await inflictAll(schedule, signal, ({ at, kind, target, failure }) =>
    say(`  ${at} s: ${kind}, ${target}${failure === null ? '' : `: NOT APPLIED, ${failure}`}`),
  );
  faultsOver.abort();
  const sinceLastFault = stopwatch();
  const trouble: { promise: string; particulars: string }[] = [];
  const promised = async (promise: string, work: Promise<void>): Promise<number> => {
    await work.catch((error: unknown) => {
      signal.throwIfAborted();
      trouble.push({ promise, particulars: errorMessage(error) });
    });
    return sinceLastFault();
  };
  const ready = await promised('the service recovers by itself', untilReady(stage, recoveryFromNow()));
  await load;
  const loaded = sinceLastFault();
  // The users go on after the last fault, so that the jobs have their time from the last request on.
  const settled = await promised('every job ends', untilSettled(database, store, recoveryFromNow()));
  say(`Ready after ${ready} s, the users are done after ${loaded} s, all work after ${settled} s.`);
  receiver.relent();
  await redeliverAbandoned({ stage, history, users, store });
  await promised('every webhook is delivered', untilSettled(database, store, recoveryFromNow()));
  const judged = await judge({ stage, history, users, receiver, store, database });
  const unasked = stage.members.flatMap(({ deaths }) => deaths);
  const report: Report = {
    faults,
    figures: [
      ['seed', seed],
      ['faults applied', faults.filter(({ failure }) => failure === null).length],
      ...judged.figures,
      [
        'starts refused while a part was away',
        stage.members.reduce((sum, one) => sum + one.refusedStarts, 0),
      ],
      ['seconds from the last fault until ready', ready],
      ['seconds from the last fault until all work was done', settled],
      ['seconds in all', elapsed()],
    ],
    violations: [
      ...faults.flatMap(({ kind, target, failure }) =>
        failure === null
          ? []
          : [{ promise: 'every fault is applied', particulars: `${kind}, ${target}: ${failure}` }],
      ),
      ...unasked.map((particulars) => ({
        promise: 'a process ends as it is asked to, and not before',
        particulars,
      })),
      ...trouble,
      ...judged.violations,
    ],
  };
  const answers = Object.fromEntries([...history.answers].sort());
  await writeFile(artefacts.file('report.json'), JSON.stringify({ ...report, answers }, null, 2));
  await writeFile(artefacts.file('history.json'), JSON.stringify(history, null, 1));
  return report;
}

function openParts(stage: Stage, releasers: Releasers) {
  const url = stage.postgres.url();
  const database = createDatabase({ url, max: 4, applicationName: 'chaos', logger: silentLogger });
  releasers.push('database', () => database.close());
  const store =
    stage.eventStore === null
      ? createPostgresEventStore({ url, database, logger: silentLogger })
      : createEventStoreDbEventStore({ url: stage.eventStore.url, logger: silentLogger });
  releasers.push('store', () => store.close());
  return { database, store };
}

/** Seconds since the call, to one decimal place. */
function stopwatch(): () => number {
  const began = performance.now();
  return () => Math.round((performance.now() - began) / 100) / 10;
}
