#!/usr/bin/env node
import { Command, CommanderError } from 'commander';
import { accountsCommand } from './commands/accounts.ts';
import { auditCommand } from './commands/audit.ts';
import { eventsCommand } from './commands/events.ts';
import { healthCommand } from './commands/health.ts';
import { migrateCommand } from './commands/migrate.ts';
import { projectionsCommand } from './commands/projections.ts';
import { EXIT, InterruptedError } from './exit.ts';
import { VERSION } from './version.ts';

const MANUAL = `
The configuration is the service's: environment variables, or a .env file in the working directory.

Exit codes:
  ${EXIT.done}    done
  ${EXIT.failed}    failed; the reason is on standard error, or with --json on standard output
  ${EXIT.usage}    wrong usage
  ${EXIT.interrupted}  interrupted`;

/** @returns the exit code */
async function main(args: readonly string[]): Promise<number> {
  const interrupt = new AbortController();
  for (const name of ['SIGINT', 'SIGTERM'] as const) {
    process.once(name, () => {
      interrupt.abort(new InterruptedError());
      process.once(name, () => process.exit(EXIT.interrupted));
    });
  }
  let code: number = EXIT.done;
  const cli = { signal: interrupt.signal, ended: (with_: number) => (code = with_) };
  const program = new Command('asyncly')
    .description('Tools for a running Asyncly, or for its data while it does not run.')
    .version(VERSION)
    .addHelpText('after', MANUAL)
    .addCommand(migrateCommand(cli))
    .addCommand(eventsCommand(cli))
    .addCommand(auditCommand(cli))
    .addCommand(projectionsCommand(cli))
    .addCommand(accountsCommand(cli))
    .addCommand(healthCommand(cli));
  everyCommand(program, (command) => command.exitOverride().showHelpAfterError('(--help says more)'));
  try {
    await program.parseAsync(args, { from: 'user' });
    return code;
  } catch (error) {
    if (!(error instanceof CommanderError)) throw error;
    return error.exitCode === 0 ? EXIT.done : EXIT.usage;
  }
}

function everyCommand(command: Command, act: (command: Command) => void): void {
  act(command);
  for (const child of command.commands) everyCommand(child, act);
}

const code = await main(process.argv.slice(2));
// The client of EventStoreDB keeps its idle connection, and with it the process. A pipe is written to in the background.
process.stdout.write('', () => process.exit(code));
