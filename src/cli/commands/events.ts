import { Command } from 'commander';
import type { Cli } from '../action.ts';
import { eventsCopyCommand } from './events-copy.ts';

/** `asyncly events …` */
export function eventsCommand(cli: Cli): Command {
  return new Command('events').description('the event store').addCommand(eventsCopyCommand(cli));
}
