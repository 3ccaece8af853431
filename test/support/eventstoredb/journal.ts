import { existsSync, openSync, readFileSync, truncateSync, writeSync } from 'node:fs';
import { z } from 'zod';
import { EventLog } from './log.ts';
import type { LoggedEvent } from './log.ts';

const base64 = z.string().transform((text) => Buffer.from(text, 'base64'));
const entry = z.object({
  stream: z.string(),
  revision: z.int(),
  id: z.string(),
  type: z.string(),
  contentType: z.string(),
  data: base64,
  metadata: base64,
  position: z.string().transform(BigInt),
  created: z.int(),
});

/**
 * A log that is written to a file before an append is answered: it outlives a kill of its process, not a power cut, since
 * nothing is synced.
 * @param file continued when it exists
 */
export function openJournal(file: string): EventLog {
  const known = existsSync(file) ? wholeLines(file) : [];
  const out = openSync(file, 'a');
  const log = new EventLog((events) => {
    writeSync(out, events.map(lineOf).join(''));
  });
  for (const line of known) log.restore(entry.parse(JSON.parse(line)));
  return log;
}

/** What a kill has left of a line that was being written is cut off: nobody was told of it. */
function wholeLines(file: string): string[] {
  const text = readFileSync(file, 'utf8');
  const whole = text.slice(0, text.lastIndexOf('\n') + 1);
  truncateSync(file, Buffer.byteLength(whole));
  return whole.split('\n').filter((line) => line !== '');
}

function lineOf(event: LoggedEvent): string {
  const text = (bytes: Uint8Array): string => Buffer.from(bytes).toString('base64');
  const { data, metadata, position } = event;
  const stored = { ...event, data: text(data), metadata: text(metadata), position: position.toString() };
  return `${JSON.stringify(stored)}\n`;
}
