import { Argument, Command, Option } from 'commander';
import { JobNotFoundError } from '../../commands/job-decider.ts';
import type { EventStore } from '../../events/event-store.ts';
import { loadJobAt } from '../../queries/job-history.ts';
import type { Moment } from '../../queries/job-history.ts';
import { wholeTrail } from '../../queries/job-trail.ts';
import { withAction } from '../action.ts';
import type { Cli, Report } from '../action.ts';
import { countArgument, jobIdArgument, timeArgument } from '../arguments.ts';
import { withConfiguredStore } from '../configured-store.ts';
import { eventJson, eventText, printable } from '../event-text.ts';
import { openLines } from '../lines.ts';

interface AuditJobOptions {
  readonly data: boolean;
  readonly json: boolean;
  readonly at?: number;
  readonly revision?: number;
}

const MANUAL = `
Prints every event of a job: its own, what its handler reported, and each attempt to deliver a webhook. A line has the time, stream and
revision, the type and who caused it. Events of one stream come in its order, causes before effects, otherwise by time.

Payloads, results, errors, log lines and URLs may be personal data: they are shown with --data only.

With --at or --revision it prints the job as it was then instead.`;

/** `asyncly audit job <id>` */
export function auditJobCommand(cli: Cli): Command {
  const command = new Command('job')
    .description('everything that has happened to a job')
    .addArgument(new Argument('<id>', 'id of the job').argParser(jobIdArgument))
    .option('--data', 'show the data of the events as well, which may be personal', false)
    .addOption(
      new Option('--at <time>', 'the job as it was at this time, such as 2026-05-19T10:00:00Z')
        .argParser(timeArgument)
        .conflicts('revision'),
    )
    .addOption(
      new Option('--revision <n>', 'the job as it was after the event of this revision').argParser(
        countArgument(0),
      ),
    )
    .addHelpText('after', MANUAL);
  return withAction<AuditJobOptions>(
    command,
    cli,
    (options, [id]) => audit(id as string, options, cli.signal),
    {
      json: 'print each event as a line of JSON',
    },
  );
}

function audit(jobId: string, options: AuditJobOptions, signal: AbortSignal): Promise<Report> {
  const { at, revision } = options;
  return withConfiguredStore(({ store }) => {
    if (at !== undefined) return auditState(store, jobId, { at }, options);
    if (revision !== undefined) return auditState(store, jobId, { revision }, options);
    return auditTrail(store, jobId, options, signal);
  });
}

async function auditTrail(
  store: EventStore,
  jobId: string,
  options: AuditJobOptions,
  signal: AbortSignal,
): Promise<Report> {
  const lines = openLines();
  const write = options.json ? eventJson : eventText;
  let events = 0;
  for await (const event of wholeTrail(store, jobId)) {
    signal.throwIfAborted();
    events++;
    if (!(await lines.write(write(event, options)))) break;
  }
  if (events === 0) throw new JobNotFoundError();
  return { data: null, text: '' };
}

async function auditState(
  store: EventStore,
  jobId: string,
  moment: Moment,
  { data }: AuditJobOptions,
): Promise<Report> {
  const job = await loadJobAt(store, jobId, moment, null);
  if (job === null) throw new JobNotFoundError();
  const { payload, result, error, webhookUrl, ...facts } = job;
  const shown = { ...facts, ...(data && { payload, result, error, webhookUrl }) };
  const width = Math.max(...Object.keys(shown).map((name) => name.length));
  const text = Object.entries(shown).map(
    ([name, value]) => `${name.padEnd(width)}  ${printable(JSON.stringify(value))}`,
  );
  return { data: shown, text: text.join('\n') };
}
