import type pg from 'pg';
import { assertEventSize } from '../../events/event-store.ts';
import type { ExpectedRevision, NewEvent } from '../../events/event-store.ts';
import { binaryArray, JSON_TYPE, TEXT } from './binary-array.ts';

/** An append as it is sent: JSON already written, so that its size is known. */
export interface EncodedAppend {
  readonly stream: string;
  readonly expected: ExpectedRevision;
  readonly events: readonly EncodedEvent[];
  /** Bytes of all its events. */
  readonly size: number;
}

interface EncodedEvent {
  readonly id: string;
  readonly type: string;
  readonly data: string;
  readonly metadata: string;
  readonly size: number;
}

/** One append's outcome: the last revision written, or where the stream really is (-1: it does not exist). */
export interface AppendResult {
  readonly appended: boolean;
  readonly revision: number;
}

/** @throws EventTooLargeError, or what JSON.stringify throws on data that is no JSON */
export function encodeAppend(
  stream: string,
  events: readonly NewEvent[],
  expected: ExpectedRevision,
): EncodedAppend {
  if (events.length === 0) throw new RangeError('An append needs at least one event');
  const encoded = events.map((event) => {
    const data = JSON.stringify(event.data);
    const metadata = JSON.stringify(event.metadata);
    return { id: event.id, type: event.type, data, metadata, size: assertEventSize(event, data, metadata) };
  });
  return { stream, expected, events: encoded, size: encoded.reduce((sum, { size }) => sum + size, 0) };
}

/** Sends appends as one statement, which is one transaction. @returns their outcomes, in order */
export async function sendBatch(
  client: pg.ClientBase,
  batch: readonly EncodedAppend[],
): Promise<AppendResult[]> {
  const { rows } = await client.query<AppendResult>({
    name: 'append',
    text: 'SELECT appended, revision FROM eventstore.append($1, $2, $3, $4, $5, $6, $7, $8, $9)',
    values: parameters(batch),
  });
  return rows;
}

function parameters(batch: readonly EncodedAppend[]): unknown[] {
  const targets = new Map<string, number>();
  for (const { stream } of batch) if (!targets.has(stream)) targets.set(stream, targets.size + 1);
  const events = batch.flatMap((append) => append.events);
  return [
    binaryArray(TEXT, [...targets.keys()]),
    batch.map(({ expected }) => expectedNumber(expected)),
    batch.map((append) => append.events.length),
    batch.flatMap((append) => append.events.map(() => targets.get(append.stream))),
    events.map(({ id }) => id),
    binaryArray(
      TEXT,
      events.map(({ type }) => type),
    ),
    binaryArray(
      JSON_TYPE,
      events.map(({ data }) => data),
    ),
    binaryArray(
      JSON_TYPE,
      events.map(({ metadata }) => metadata),
    ),
    events.map(({ size }) => size),
  ];
}

/** As `eventstore.append` takes it. */
function expectedNumber(expected: ExpectedRevision): number {
  if (expected === 'any') return -2;
  return expected === 'no_stream' ? -1 : expected;
}
