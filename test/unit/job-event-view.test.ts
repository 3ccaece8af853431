import { readdirSync, readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import type { RecordedEvent } from '../../src/events/event-store.ts';
import { jobEventView } from '../../src/http/routes/job-event-view.ts';

const FIXTURES = new URL('../fixtures/events/', import.meta.url);
const stored = readdirSync(FIXTURES).map(
  (name) => JSON.parse(readFileSync(new URL(name, FIXTURES), 'utf8')) as RecordedEvent,
);

/** Every field that an owner is shown, and why a new one has to be added here: it may say something of the service's machines. */
const SHOWN: Readonly<Record<string, string>> = {
  JobCreated: 'jobId maxAttempts payload requestHash runAt timeoutMs type userId webhookEvents webhookUrl',
  JobStarted: 'attempt executionId maxAttempts round supersedes type workerId',
  JobReleased: 'attempt executionId reason round',
  JobAttemptFailed: 'attempt error executionId retryAt round',
  JobCompleted: 'attempt executionId result round webhook',
  JobFailed: 'attempt error executionId reason round webhook',
  JobCancelRequested: 'executionId round',
  JobCancelled: 'attempt round webhook',
  JobRetried: 'round',
  JobLogged: 'attempt executionId jobId message round',
  JobProgressed: 'attempt executionId jobId note percent round',
  WebhookAttempted: 'attempt body error jobId nextAttemptAt round statusCode success url',
  WebhookAbandoned: 'attempts jobId round',
  WebhookRedeliveryRequested: 'attempt jobId round',
};

test.each(stored.map((event) => [`${event.type} v${event.metadata.schemaVersion}`, event] as const))(
  '%s is shown as it was stored, but for what is internal',
  (_, event) => {
    const { data, actor, ...rest } = jobEventView(event);
    const { metadata } = event;
    const { id, type, stream, revision } = event;
    const { occurredAt, correlationId, causationId, schemaVersion } = metadata;
    expect(rest).toEqual({
      id,
      type,
      stream,
      revision,
      occurredAt,
      correlationId,
      causationId,
      schemaVersion,
    });
    const shown = data as Record<string, unknown>;
    const allowed = (SHOWN[type] ?? '').split(' ');
    expect(allowed).toEqual(expect.arrayContaining(Object.keys(shown)));
    for (const [field, value] of Object.entries(shown)) {
      if (field !== 'workerId') expect(value).toEqual(event.data[field]);
    }
    if (metadata.actor.kind !== 'worker') expect(actor).toEqual(metadata.actor);
  },
);

test('a worker goes by a name that tells nothing of its machine, the same in every event', () => {
  const started = stored.find(({ type }) => type === 'JobStarted')!;
  const workerId = 'build-host-7.internal-4711-5c1b2f3e-0000-4000-8000-000000000001';
  const by = (id: string): RecordedEvent => ({
    ...started,
    data: { ...started.data, workerId: id },
    metadata: { ...started.metadata, actor: { kind: 'worker', id } },
  });
  const view = jobEventView(by(workerId));
  expect(JSON.stringify(view)).not.toMatch(/build-host|4711|5c1b2f3e|heartbeat/);
  const { actor, data } = view as { actor: { id: string }; data: { workerId: string } };
  expect(actor).toEqual({ kind: 'worker', id: expect.stringMatching(/^worker-[0-9a-f]{12}$/) as string });
  expect(data.workerId).toBe(actor.id);
  expect((jobEventView(by(`${workerId}x`)) as { actor: { id: string } }).actor.id).not.toBe(actor.id);
});

test('what an event of an unknown type holds is not shown', () => {
  const event = { ...stored[0]!, type: 'constructor', data: { host: 'build-host-7' } };
  expect(jobEventView(event)).toMatchObject({ type: 'constructor', data: null });
});
