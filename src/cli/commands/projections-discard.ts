import { Command } from 'commander';
import { discard } from '../../projections/discard.ts';
import { schemaOf } from '../../projections/versions.ts';
import { withAction } from '../action.ts';
import type { Cli } from '../action.ts';
import { maintaining, projectionArgument } from '../maintaining.ts';

const MANUAL = `
Frees the room of versions that are kept for a rollback, and of rebuilds that were begun and not ended. The live versions stay.`;

/** `asyncly projections discard` */
export function projectionsDiscardCommand(cli: Cli): Command {
  const command = new Command('discard')
    .description('drop every version of a read model but the live one')
    .addArgument(projectionArgument('<name>'))
    .addHelpText('after', MANUAL);
  return withAction(command, cli, async (_, [name]) => {
    const dropped = await maintaining(cli, (m) => discard(m, name === 'all' ? undefined : (name as string)));
    return {
      data: {
        discarded: dropped.map(({ projection, version, state }) => ({ projection, version, state })),
      },
      text:
        dropped.length === 0
          ? 'There is none but the live one.'
          : dropped.map((version) => `${schemaOf(version)} (${version.state}) is dropped.`).join('\n'),
    };
  });
}
