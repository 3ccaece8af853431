import { described, eventsFrom, identify } from './finding.ts';
import type { Finding, Problem } from './finding.ts';
import type { EventLine } from './export-line.ts';

/** A line as those behind it see it. What the manifest says of the beginning is one too, without an event. */
export interface Predecessor extends Pick<EventLine, 'number' | 'after'> {
  readonly at: EventLine | null;
}

/** A line as those before it see it; the manifest is one too. */
export type Successor = Pick<EventLine, 'number' | 'before'>;

const numbered = (one: Predecessor, next: Successor): boolean => next.number === one.number + 1;
const linked = (one: Predecessor, next: Successor): boolean => next.before === one.after;

export function predecessor(at: EventLine): Predecessor {
  const { number, after } = at;
  return { number, after, at };
}

/** Whether a line goes on where another one ends. */
export function isJoined(one: Predecessor, next: Successor): boolean {
  return numbered(one, next) && linked(one, next);
}

/**
 * Two lines that are each as they should be, but do not follow on one another: what has happened. Of what a single line can
 * suffer, the line behind the two tells which of them is at fault. Whoever has computed more lines anew can put the blame on a
 * neighbour, but not keep it from being seen.
 * @param next the line behind them; null when there is none that could tell
 */
export function explainBreak(one: Predecessor, two: EventLine, next: Successor | null): Finding {
  const expected = one.number + 1;
  if (linked(one, two)) return finding('changed', two, expected, `bears the number ${two.number}`);
  if (next !== null && isJoined(one, next)) return misplaced(two);
  if (next !== null && isJoined(predecessor(two), next)) {
    if (two.number > expected) return missing(one, two);
    if (one.at && two.number === expected) {
      return finding('changed', one.at, one.number, 'is not the one that the next line follows');
    }
    if (one.at && two.number === one.number) return misplaced(one.at);
  }
  if (two.number !== expected) return misplaced(two);
  if (next === null && one.at) {
    const either = finding('changed', one.at, one.number, 'or the one behind it, is not what it was');
    return { ...either, upTo: expected };
  }
  return finding('changed', two, expected, 'does not follow on what is before it');
}

const misplaced = (at: EventLine): Finding => finding('misplaced', at, at.number, 'does not belong there');

/** @param number that the event has, whatever its line says */
function finding(problem: Problem, at: EventLine, number: number, what: string): Finding {
  const { event, line } = at;
  return {
    problem,
    message: `Event ${number} in line ${line}, ${described(event)}, ${what}.`,
    number,
    line,
    ...identify(event),
  };
}

function missing(one: Predecessor, two: EventLine): Finding {
  const number = one.number + 1;
  const upTo = two.number - 1;
  const before = one.at ? `line ${one.at.line} has ${described(one.at.event)}, ` : '';
  const message =
    `The file lacks ${eventsFrom(number, upTo)}: ${before}` + `line ${two.line} has ${described(two.event)}.`;
  return { problem: 'missing', message, number, upTo, line: two.line };
}
