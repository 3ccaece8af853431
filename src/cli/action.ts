import { Option } from 'commander';
import type { Command } from 'commander';
import { AppError, errorMessage } from '../errors.ts';
import { EXIT, InterruptedError } from './exit.ts';

/** What a command gets from the program around it. */
export interface Cli {
  /** Aborts on Ctrl-C, with an {@link InterruptedError}. */
  readonly signal: AbortSignal;
  /** Notes the exit code of the process. */
  readonly ended: (exitCode: number) => void;
}

/** What a command has to say at its end. */
export interface Report {
  /** Printed with `--json`; null when the command has printed its lines itself. */
  readonly data: Readonly<Record<string, unknown>> | null;
  /** Printed otherwise, unless empty. */
  readonly text: string;
  /** The answer is no: exit code 1. */
  readonly failed?: boolean;
  /** Standard output has something else in it: the report goes to standard error. */
  readonly aside?: boolean;
}

/**
 * Gives a command its work and the option `--json`. Standard output has the report and nothing else, unless it
 * says otherwise; progress and log lines go to standard error.
 * @param work gets the options and, as their parsers left them, the arguments
 */
export function withAction<Options extends object>(
  command: Command,
  cli: Cli,
  work: (options: Options & { readonly json: boolean }, args: readonly unknown[]) => Promise<Report>,
  { json = 'print the result as one line of JSON' }: { readonly json?: string } = {},
): Command {
  return command.addOption(new Option('--json', json).default(false)).action(async () => {
    const options = command.opts<Options & { json: boolean }>();
    try {
      const report = await work(options, command.processedArgs as readonly unknown[]);
      const { data, text, failed = false, aside = false } = report;
      const stream = aside ? process.stderr : process.stdout;
      if (!options.json && text !== '') print(text, stream);
      if (options.json && data !== null) print(JSON.stringify(data), stream);
      cli.ended(failed ? EXIT.failed : EXIT.done);
    } catch (error) {
      const interrupted = cli.signal.aborted;
      const told = interrupted ? new InterruptedError() : error;
      if (options.json) print(JSON.stringify({ error: describe(told) }));
      else process.stderr.write(`asyncly: ${explain(told)}\n`);
      cli.ended(interrupted ? EXIT.interrupted : EXIT.failed);
    }
  });
}

function print(text: string, stream: NodeJS.WriteStream = process.stdout): void {
  stream.write(`${text}\n`);
}

/** What is expected to go wrong needs no stack. */
function explain(error: unknown): string {
  return error instanceof AppError || !(error instanceof Error)
    ? errorMessage(error)
    : (error.stack ?? error.message);
}

function describe(error: unknown): { code: string; message: string } {
  const code = error instanceof AppError ? error.code : 'UNEXPECTED';
  return { code, message: errorMessage(error), ...(error instanceof AppError && error.data) };
}
