import { Command } from 'commander';
import type { Cli } from '../action.ts';
import { projectionsDiscardCommand } from './projections-discard.ts';
import { projectionsRebuildCommand } from './projections-rebuild.ts';
import { projectionsResetCommand } from './projections-reset.ts';
import { projectionsRollbackCommand } from './projections-rollback.ts';
import { projectionsListCommand, projectionsStatusCommand } from './projections-status.ts';
import { projectionsVerifyCommand } from './projections-verify.ts';

/** `asyncly projections …` */
export function projectionsCommand(cli: Cli): Command {
  return new Command('projections')
    .description('the read models')
    .addCommand(projectionsListCommand(cli))
    .addCommand(projectionsStatusCommand(cli))
    .addCommand(projectionsVerifyCommand(cli))
    .addCommand(projectionsRebuildCommand(cli))
    .addCommand(projectionsRollbackCommand(cli))
    .addCommand(projectionsDiscardCommand(cli))
    .addCommand(projectionsResetCommand(cli));
}
