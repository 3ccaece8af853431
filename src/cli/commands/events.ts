import { Command } from 'commander';
import type { Cli } from '../action.ts';
import { eventsCopyCommand } from './events-copy.ts';
import { eventsStatsCommand } from './events-stats.ts';
import { eventsTailCommand } from './events-tail.ts';

/** `asyncly events …` */
export function eventsCommand(cli: Cli): Command {
  return new Command('events')
    .description('the event store')
    .addCommand(eventsTailCommand(cli))
    .addCommand(eventsStatsCommand(cli))
    .addCommand(eventsCopyCommand(cli));
}
