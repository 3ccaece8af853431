import { Command, InvalidArgumentError, Option } from 'commander';
import type { EventStore, Position, PositionedEvent } from '../../events/event-store.ts';
import { START } from '../../events/event-store.ts';
import { jobLogStream, jobStream } from '../../events/job.ts';
import { webhookStream } from '../../events/webhook.ts';
import { STREAM_PREFIXES } from '../../events/streams.ts';
import { withAction } from '../action.ts';
import type { Cli, Report } from '../action.ts';
import { countArgument, jobIdArgument, positionArgument } from '../arguments.ts';
import { withConfiguredStore } from '../configured-store.ts';
import { eventJson, eventText } from '../event-text.ts';
import { openLines } from '../lines.ts';

interface TailOptions {
  readonly after?: Position;
  readonly fromStart: boolean;
  readonly prefix: readonly string[];
  readonly type: readonly string[];
  readonly job?: string;
  readonly limit?: number;
  readonly follow: boolean;
  readonly data: boolean;
  readonly json: boolean;
}

const MANUAL = `
Prints events in the order of the store, as they come, until Ctrl-C. Each line has the position, which --after takes up again.

Payloads, results, errors, log lines and URLs may be personal data: they are shown with --data only.

Ctrl-C is the way to end it: exit code 0. With --limit or --no-follow it ends by itself, and Ctrl-C before that is exit code 130.`;

/** `asyncly events tail` */
export function eventsTailCommand(cli: Cli): Command {
  const command = new Command('tail')
    .description('print events as they are written')
    .addOption(
      new Option('--after <position>', 'begin behind this position; default: behind the newest event')
        .argParser(positionArgument)
        .conflicts('fromStart'),
    )
    .option('--from-start', 'begin with the first event', false)
    .addOption(
      new Option(
        '--prefix <prefix>',
        `only streams whose names begin so: ${STREAM_PREFIXES.join(', ')} or longer; repeatable`,
      )
        .argParser(collectPrefixes)
        .default([], 'every stream')
        .conflicts('job'),
    )
    .addOption(
      new Option('--type <type>', 'only events of this type, such as JobFailed; repeatable')
        .argParser(collect)
        .default([], 'every type'),
    )
    .addOption(new Option('--job <id>', 'only what concerns this job').argParser(jobIdArgument))
    .addOption(new Option('--limit <n>', 'end after so many events').argParser(countArgument(1)))
    .option('--no-follow', 'end behind the newest event there is')
    .option('--data', 'show the data of the events as well, which may be personal', false)
    .addHelpText('after', MANUAL);
  return withAction<TailOptions>(
    command,
    cli,
    (options) => withConfiguredStore(({ store }) => tail(store, options, cli.signal)),
    { json: 'print each event as a line of JSON' },
  );
}

async function tail(store: EventStore, options: TailOptions, interrupt: AbortSignal): Promise<Report> {
  const { fromStart, type, limit = Number.POSITIVE_INFINITY, follow } = options;
  const after = fromStart ? START : (options.after ?? (await store.head()));
  const ended = new AbortController();
  const signal = AbortSignal.any([interrupt, ended.signal]);
  const lines = openLines();
  const write = options.json ? eventJson : eventText;
  const wanted = (event: PositionedEvent): boolean => type.length === 0 || type.includes(event.type);
  const report: Report = { data: null, text: '' };
  let shown = 0;
  try {
    for await (const message of store.subscribe({ after, prefixes: prefixesOf(options), signal })) {
      if (message.kind === 'caught-up') {
        if (!follow) return report;
        continue;
      }
      for (const event of message.events.filter(wanted)) {
        if (interrupt.aborted) break;
        if (!(await lines.write(write(event, options)))) return report;
        if (++shown >= limit) return report;
      }
    }
  } finally {
    ended.abort();
  }
  if (!follow || options.limit !== undefined) interrupt.throwIfAborted();
  return report;
}

function prefixesOf({ job, prefix }: TailOptions): readonly string[] {
  if (job !== undefined) return [jobStream(job), jobLogStream(job), webhookStream(`${job}-`)];
  return prefix.length > 0 ? prefix : STREAM_PREFIXES;
}

function collect(value: string, before: readonly string[]): string[] {
  return [...before, value];
}

function collectPrefixes(value: string, before: readonly string[]): string[] {
  if (!STREAM_PREFIXES.some((prefix) => value.startsWith(prefix))) {
    throw new InvalidArgumentError(`It has to begin with ${STREAM_PREFIXES.join(', ')}.`);
  }
  return collect(value, before);
}
