import { Command } from 'commander';
import { verify } from '../../projections/verify.ts';
import type { Verified } from '../../projections/verify.ts';
import { withAction } from '../action.ts';
import type { Cli } from '../action.ts';
import { describeDifferences } from '../describe-comparison.ts';
import { maintaining, named, projectionArgument } from '../maintaining.ts';

const MANUAL = `
Folds all events anew into tables of its own and compares them with the live ones, row by row, both at the same event. The
service may run. Exit code 1 when a row differs; 'asyncly projections rebuild' mends that.`;

/** `asyncly projections verify` */
export function projectionsVerifyCommand(cli: Cli): Command {
  const command = new Command('verify')
    .description('prove that read models are what the events say')
    .addArgument(projectionArgument('[name]'))
    .addHelpText('after', MANUAL);
  return withAction(command, cli, async (_, [name]) => {
    const verified = await maintaining(cli, (m) => verify(m, named(name)));
    return {
      data: {
        clean: verified.every(({ differing }) => differing === 0),
        verified: verified.map((one) => ({ ...one, position: one.position.toString() })),
      },
      text: verified.flatMap(describe).join('\n'),
      failed: verified.some(({ differing }) => differing > 0),
    };
  });
}

function describe(verified: Verified): string[] {
  const { projection, position, tables, differing, stopped } = verified;
  const rows = tables.reduce((sum, table) => sum + table.rows, 0);
  return [
    `${projection}: ${rows} rows at position ${position.toString()}, ${
      differing === 0 ? 'all as the events say.' : `${differing} differ:`
    }`,
    ...describeDifferences(verified),
    ...(stopped === null ? [] : [`  It stands in front of an event: ${stopped}`]),
  ];
}
