import { readdirSync, readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { z } from 'zod';
import {
  createCodec,
  eventCodec,
  isJobEvent,
  UndecodableEventError,
  UnencodableEventError,
} from '../../src/events/codec.ts';
import type { DomainEvent } from '../../src/events/codec.ts';
import type { RecordedEvent } from '../../src/events/event-store.ts';
import { evolveJob } from '../../src/events/job.ts';
import { events, execution, foldJob, JOB_ID, NOW } from '../support/job-spec.ts';

const FIXTURES = new URL('../fixtures/events/', import.meta.url);
const fixture = (name: string): RecordedEvent =>
  JSON.parse(readFileSync(new URL(name, FIXTURES), 'utf8')) as RecordedEvent;

const metadata = {
  correlationId: 'request-1',
  causationId: 'request-1',
  actor: { kind: 'user', id: 'user-1' },
  occurredAt: NOW,
} as const;

function recorded(type: string, data: Record<string, unknown>, schemaVersion = 1): RecordedEvent {
  return {
    id: execution(1),
    type,
    data,
    metadata: { schemaVersion, ...metadata },
    stream: `job-${JOB_ID}`,
    revision: 3,
  };
}

describe('events that were stored once', () => {
  const stored = readdirSync(FIXTURES);

  it('are kept as an example of every version of every type', () => {
    const wanted = eventCodec.types.flatMap((type) =>
      Array.from({ length: eventCodec.currentVersion(type) }, (_, index) => `${type}.v${index + 1}.json`),
    );
    expect(stored.sort()).toEqual(wanted.sort());
  });

  it.each(stored)('%s is read for ever', (name) => {
    const [type, version] = name.split('.');
    const event = fixture(name);
    expect(`${event.type}.v${event.metadata.schemaVersion}`).toBe(`${type}.${version}`);
    expect(eventCodec.decode(event).type).toBe(type);
  });

  it.each(stored)('%s still folds into a job', (name) => {
    const event = eventCodec.decode(fixture(name));
    if (!isJobEvent(event)) return;
    const before = event.type === 'JobCreated' ? null : foldJob([events.created()]);
    expect(evolveJob(before, { event, occurredAt: NOW, revision: 1 }).revision).toBe(1);
  });

  it.each(
    stored.filter(
      (name) => fixture(name).metadata.schemaVersion === eventCodec.currentVersion(fixture(name).type),
    ),
  )('%s is what would be written today', (name) => {
    const { stream, revision, ...event } = fixture(name);
    const { schemaVersion, ...rest } = event.metadata;
    const again = eventCodec.encode(eventCodec.decode({ stream, revision, ...event }), event.id, rest);
    expect(JSON.parse(JSON.stringify(again))).toEqual({ ...event, metadata: { schemaVersion, ...rest } });
  });
});

describe('decoding', () => {
  it.each(['JobExploded', 'constructor', '__proto__', 'toString'])('refuses the unknown type %s', (type) => {
    expect(() => eventCodec.decode(recorded(type, {}))).toThrow(UndecodableEventError);
    expect(() => eventCodec.decode(recorded(type, {}))).toThrow('its type is unknown');
  });

  it.each([2, 0, -1, 1.5, Number.NaN])('refuses version %d of a type that has version 1', (version) => {
    const event = recorded('JobRetried', { round: 2 }, version);
    expect(() => eventCodec.decode(event)).toThrow(`its version ${version} is not one of 1 to 1`);
  });

  it('refuses data that does not fit, and names the event and the field', () => {
    const event = recorded('JobRetried', { round: 'two' });
    expect(() => eventCodec.decode(event)).toThrow(
      `Event ${event.id} (JobRetried, job-${JOB_ID}@3) cannot be read: round: `,
    );
    expect(() =>
      eventCodec.decode(recorded('JobCompleted', { round: 1, attempt: 1, executionId: execution(1) })),
    ).toThrow('result: must be a JSON value');
  });

  it('keeps a payload as it is, down to keys that JavaScript treats specially', () => {
    const text = '{"__proto__":{"a":1},"constructor":2,"z":1,"a":[null,{"1":0}]}';
    const data = { ...events.created().data, payload: JSON.parse(text) as Record<string, unknown> };
    const event = eventCodec.decode(recorded('JobCreated', data));
    expect(JSON.stringify('payload' in event.data && event.data.payload)).toBe(text);
  });
});

describe('an event of a type of ours that somebody else wrote', () => {
  const { metadata: given, ...event } = recorded('JobRetried', { round: 2 });

  it.each([
    ['no metadata', undefined],
    ['bytes for metadata', new Uint8Array([1])],
    ['metadata of its own', { traceId: 'x' }],
    ['a version that is a text', { ...given, schemaVersion: '1' }],
  ])('is named as one that cannot be read: %s', (_, metadata) => {
    const strange = { ...event, metadata: metadata as unknown as typeof given };
    expect(() => eventCodec.decode(strange)).toThrow(UndecodableEventError);
  });
});

describe('encoding', () => {
  it('gives the stored form with the current version', () => {
    expect(eventCodec.encode(events.retried(2), execution(1), metadata)).toEqual({
      id: execution(1),
      type: 'JobRetried',
      data: { round: 2 },
      metadata: { schemaVersion: 1, ...metadata },
    });
  });

  it.each<[string, DomainEvent]>([
    ['an id that is none', events.created({ jobId: 'job-1' })],
    ['text that Postgres cannot hold', events.created({ type: 'a\u0000b' })],
    ['half a character', events.created({ type: '\uD800' })],
    ['a time with an offset', events.created({ runAt: '2026-05-19T10:00:00+02:00' })],
    ['a type that does not exist', { type: 'JobExploded', data: {} } as unknown as DomainEvent],
  ])('refuses %s', (_, event) => {
    expect(() => eventCodec.encode(event, execution(1), metadata)).toThrow(UnencodableEventError);
  });
});

describe('upcasting', () => {
  // A type with a history: `mail` became `to`, then `to` became a list.
  const codec = createCodec<{ type: 'MailSent'; data: { to: string[]; urgent: boolean } }>(
    { MailSent: z.object({ to: z.array(z.string()), urgent: z.boolean() }) },
    {
      MailSent: [
        ({ mail, ...rest }) => ({ ...rest, to: mail }),
        ({ to, ...rest }) => ({ urgent: false, ...rest, to: (to as string).split(',') }),
      ],
    },
  );

  it.each([
    [1, { mail: 'a@x,b@x' }],
    [2, { to: 'a@x,b@x' }],
    [3, { to: ['a@x', 'b@x'], urgent: false }],
  ])('brings version %d up to date', (version, data) => {
    const event = codec.decode(recorded('MailSent', data, version));
    expect(event).toEqual({ type: 'MailSent', data: { to: ['a@x', 'b@x'], urgent: false } });
  });

  it('leaves what was stored as it is', () => {
    const stored = Object.freeze(recorded('MailSent', Object.freeze({ mail: 'a@x' }), 1));
    codec.decode(stored);
    expect(stored.data).toEqual({ mail: 'a@x' });
  });

  it('writes the newest version and refuses a newer one', () => {
    const written = codec.encode(
      { type: 'MailSent', data: { to: [], urgent: true } },
      execution(1),
      metadata,
    );
    expect(written.metadata.schemaVersion).toBe(3);
    expect(() => codec.decode(recorded('MailSent', {}, 4))).toThrow('its version 4 is not one of 1 to 3');
  });

  it('checks what an upcaster makes, and names the event when one fails', () => {
    expect(() => codec.decode(recorded('MailSent', { to: [1], urgent: 'yes' }, 3))).toThrow(
      UndecodableEventError,
    );
    expect(() => codec.decode(recorded('MailSent', { to: 5 }, 2))).toThrow(/MailSent.*its upcaster failed: /);
  });
});
