import { Command } from 'commander';
import type { Cli } from '../action.ts';
import { projectionsResetCommand } from './projections-reset.ts';

/** `asyncly projections …` */
export function projectionsCommand(cli: Cli): Command {
  return new Command('projections').description('the read models').addCommand(projectionsResetCommand(cli));
}
