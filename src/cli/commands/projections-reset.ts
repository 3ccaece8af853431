import { Command } from 'commander';
import { databaseAddress, openDatabase } from '../../composition/open-database.ts';
import { loadConfig } from '../../config.ts';
import { createLogger } from '../../logger.ts';
import { projections } from '../../projections/registry.ts';
import { resetReadModels } from '../../projections/reset.ts';
import { withAction } from '../action.ts';
import type { Cli } from '../action.ts';

const MANUAL = `
Read models, checkpoints and the list of open work belong to the event store they were made from. When another one takes its
place, stop the service, run this, and start it again: everything is made anew from the first event on. Accounts stay.`;

/** `asyncly projections reset` */
export function projectionsResetCommand(cli: Cli): Command {
  const command = new Command('reset')
    .description(
      'empty all read models and checkpoints, for a service whose event store has become another one',
    )
    .addHelpText('after', MANUAL);
  return withAction(command, cli, async () => {
    const config = loadConfig();
    const { database, close } = await openDatabase(databaseAddress(config), {
      dataDir: config.DATA_DIR,
      logger: createLogger('warn', 'stderr'),
      use: 'writing',
    });
    try {
      await resetReadModels(database, projections);
    } finally {
      await close();
    }
    return {
      data: { reset: projections.map(({ name }) => name) },
      text: 'Read models and checkpoints are empty. The service makes them anew when it starts.',
    };
  });
}
