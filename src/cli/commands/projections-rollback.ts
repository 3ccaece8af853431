import { Command } from 'commander';
import { rollback, withPrevious } from '../../projections/rollback.ts';
import { withAction } from '../action.ts';
import type { Cli } from '../action.ts';
import { maintaining, named, projectionArgument } from '../maintaining.ts';

const MANUAL = `
The version before the last rebuild takes the events that it has missed and becomes the live one again, in one transaction; what
was live is kept in its place, so that a second rollback undoes the first. The service may run.`;

/** `asyncly projections rollback` */
export function projectionsRollbackCommand(cli: Cli): Command {
  const command = new Command('rollback')
    .description('put the version of a read model from before its last rebuild back')
    .addArgument(projectionArgument('<name>'))
    .addHelpText('after', MANUAL);
  return withAction(command, cli, async (_, [name]) => {
    const rolledBack = await maintaining(cli, async (m) => {
      const done = [];
      for (const projection of await withPrevious(m, named(name))) done.push(await rollback(m, projection));
      return done;
    });
    return {
      data: { rolledBack: rolledBack.map((one) => ({ ...one, position: one.position.toString() })) },
      text: rolledBack
        .map(
          ({ projection, version, previous, events }) =>
            `${projection}: version ${version} is live again, after ${events} events; version ${previous} is kept.`,
        )
        .join('\n'),
    };
  });
}
