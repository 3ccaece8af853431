import { Command } from 'commander';
import type { Cli } from '../action.ts';
import { auditExportCommand } from './audit-export.ts';
import { auditJobCommand } from './audit-job.ts';
import { auditVerifyCommand } from './audit-verify.ts';

/** `asyncly audit …` */
export function auditCommand(cli: Cli): Command {
  return new Command('audit')
    .description('what is on record, and proof that nothing of it was changed')
    .addCommand(auditJobCommand(cli))
    .addCommand(auditExportCommand(cli))
    .addCommand(auditVerifyCommand(cli));
}
