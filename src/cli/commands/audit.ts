import { Command } from 'commander';
import type { Cli } from '../action.ts';
import { auditJobCommand } from './audit-job.ts';

/** `asyncly audit …` */
export function auditCommand(cli: Cli): Command {
  return new Command('audit').description('what is on record').addCommand(auditJobCommand(cli));
}
