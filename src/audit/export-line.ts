import { leafHash, linkHash } from './chain.ts';
import { renderEvent, restoreEvent } from './cloud-event.ts';
import type { ExportedEvent } from './cloud-event.ts';
import { described, identify } from './finding.ts';
import type { Finding } from './finding.ts';
import { MANIFEST_TYPE, restoreManifest } from './manifest.ts';
import type { ManifestLine } from './manifest.ts';

/** An event's line that is in itself what it should be. */
export interface EventLine extends ExportedEvent {
  readonly kind: 'event';
  readonly leaf: Buffer;
  readonly line: number;
}

export type ExportLine =
  | EventLine
  | ({ readonly kind: 'manifest'; readonly line: number } & ManifestLine)
  | { readonly kind: 'bad'; readonly finding: Finding };

/** A byte order mark is a byte too many. */
const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

/**
 * What a line of an export is. Everything in it is as we would write it and follows from the event and the chain before it,
 * so that not a byte can change unnoticed; `bad` says what is wrong.
 * @param line its number, from 1
 * @param expected number of the event that should be in it
 */
export function readLine(bytes: Buffer, line: number, expected: number | null): ExportLine {
  try {
    const text = utf8.decode(bytes);
    const object: unknown = JSON.parse(text);
    if (typeof object === 'object' && object !== null) {
      const attributes = object as Readonly<Record<string, unknown>>;
      return attributes['type'] === MANIFEST_TYPE
        ? manifestLine(attributes, text, line)
        : eventLine(attributes, text, line, expected);
    }
  } catch {
    // It is no JSON, or some that we could not have written; which, makes no difference.
  }
  return unreadable(bytes, line, expected);
}

function manifestLine(object: Readonly<Record<string, unknown>>, text: string, line: number): ExportLine {
  const restored = restoreManifest(object, text);
  if (restored) return { kind: 'manifest', line, ...restored };
  const message = `The manifest in line ${line} was changed: it is not what its id names.`;
  return { kind: 'bad', finding: { problem: 'manifest', message, line } };
}

function eventLine(
  object: Readonly<Record<string, unknown>>,
  text: string,
  line: number,
  expected: number | null,
): ExportLine {
  const exported = restoreEvent(object);
  if (!exported) return unreadable(Buffer.from(text), line, expected);
  const { event, number, before, after } = exported;
  const leaf = leafHash(event);
  const fits = linkHash(Buffer.from(before, 'hex'), leaf).toString('hex') === after;
  if (fits && renderEvent(exported) === text) return { kind: 'event', leaf, line, ...exported };
  const message = `Event ${expected ?? number} in line ${line} was changed: ${described(event)}.`;
  return {
    kind: 'bad',
    finding: { problem: 'changed', message, number: expected ?? number, line, ...identify(event) },
  };
}

function unreadable(bytes: Buffer, line: number, expected: number | null): ExportLine {
  const id = /"id":"([0-9a-f-]{36})"/.exec(bytes.toString('latin1'))?.[1];
  const what = id === undefined ? '' : `, perhaps of ${id}`;
  const where = expected === null ? '' : `, where event ${expected} belongs${what}`;
  return {
    kind: 'bad',
    finding: {
      problem: 'unreadable',
      message: `Line ${line} is not as an export has it${where}.`,
      line,
      ...(expected !== null && { number: expected }),
      ...(id !== undefined && { id }),
    },
  };
}
