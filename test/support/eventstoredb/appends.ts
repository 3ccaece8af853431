import { setImmediate as nextTurn } from 'node:timers/promises';
import type { AppendFault } from './faults.ts';
import { ANY, NO_STREAM, STREAM_EXISTS } from './log.ts';
import type { AppendOutcome, Expected, Proposed } from './log.ts';
import {
  Any,
  failure,
  grpc,
  identifierOf,
  nameOf,
  notLeader,
  shared,
  Status,
  streams,
  unavailable,
} from './protocol.ts';
import type { AppendCall, AppendReq, BatchAppendCall, BatchAppendReq, StreamsServer } from './protocol.ts';
import type { ServerState } from './state.ts';

const MAX_APPEND_SIZE = 1024 * 1024;
/** The real server counts what a record needs besides the event. */
const OVERHEAD = 16;
const UUID = /^[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}$/i;

type Message = AppendReq.ProposedMessage | BatchAppendReq.ProposedMessage;

interface Write {
  readonly stream: string;
  readonly expected: Expected;
  readonly events: Proposed[];
  size: number;
}

export function appendHandler(state: ServerState): StreamsServer['append'] {
  return (call: AppendCall, reply) => {
    let write: Write | null = null;
    let refused: Error | null = null;
    state.counts.appendCalls++;
    call.on('error', () => undefined);
    call.on('data', (request: AppendReq) => {
      try {
        if (request.hasOptions()) write = fromOptions(request.getOptions()!);
        else add(write!, request.getProposedMessage()!);
      } catch (error) {
        refused ??= error as Error;
      }
    });
    call.on('end', () => void carryOut());
    async function carryOut(): Promise<void> {
      // A connection that breaks in the middle of the request ends it as well; nothing is written then.
      await nextTurn();
      if (call.cancelled) return;
      if (write && write.size > MAX_APPEND_SIZE) refused ??= tooLarge();
      // The client gave up before it had sent them.
      if (refused || !write?.events.length) {
        reply(refused ?? unhandled());
        return;
      }
      const { stream, expected, events } = write;
      await state.carryOut(stream, () => state.log.append(stream, expected, events), {
        fail: (error) => reply(error),
        answer: (outcome) => reply(null, response(outcome, expected)),
      });
    }
  };
}

/** The bidirectional call that the client prefers when it is left to itself. */
export function batchAppendHandler(state: ServerState): StreamsServer['batchAppend'] {
  return (call: BatchAppendCall) => {
    const pending = new Map<string, Write>();
    state.counts.batchAppendCalls++;
    call.on('error', () => undefined);
    call.on('end', () => call.end());
    call.on('data', (request: BatchAppendReq) => {
      const correlation = request.getCorrelationId()!;
      const id = correlation.getString();
      const options = request.getOptions();
      if (options) {
        const expected = options.hasStreamPosition()
          ? Number(options.getStreamPosition())
          : expectation(options);
        pending.set(id, { stream: nameOf(options.getStreamIdentifier()), expected, events: [], size: 0 });
      }
      const write = pending.get(id);
      if (!write) return;
      for (const message of request.getProposedMessagesList()) add(write, message);
      if (!request.getIsFinal()) return;
      pending.delete(id);
      const { stream, expected, events } = write;
      void state.carryOut(stream, () => state.log.append(stream, expected, events), {
        fail: (error) => call.emit('error', error),
        answer(outcome) {
          const answer = new streams.BatchAppendResp()
            .setCorrelationId(correlation)
            .setStreamIdentifier(identifierOf(stream));
          if (outcome.kind === 'appended') {
            answer.setSuccess(
              new streams.BatchAppendResp.Success().setCurrentRevision(String(outcome.revision)),
            );
          } else {
            const conflict = new shared.WrongExpectedVersion();
            if (outcome.current >= 0) conflict.setCurrentStreamRevision(String(outcome.current));
            const details = new Any();
            details.pack(conflict.serializeBinary(), 'event_store.client.WrongExpectedVersion');
            answer.setError(new Status().setMessage('WrongExpectedVersion').setDetails(details));
          }
          call.write(answer);
        },
      });
    });
  };
}

/** The errors of a fault that keeps the append from being made, or its answer from being given. */
export function errorOf(fault: Exclude<AppendFault, 'conflict-after-commit'>, port: number): Error {
  switch (fault) {
    case 'not-leader':
      return notLeader(port);
    case 'busy':
      return failure(grpc.status.UNKNOWN, 'Server Is Busy');
    case 'timeout':
      return failure(grpc.status.ABORTED, 'Operation timed out');
    case 'lost-reply':
    case 'stall':
    case 'cut-after-commit':
    case 'cut-before-commit':
      return unavailable();
  }
}

function fromOptions(options: AppendReq.Options): Write {
  const expected = options.hasRevision() ? Number(options.getRevision()) : expectation(options);
  return { stream: nameOf(options.getStreamIdentifier()), expected, events: [], size: 0 };
}

function expectation(options: { hasNoStream(): boolean; hasStreamExists(): boolean }): Expected {
  if (options.hasNoStream()) return NO_STREAM;
  return options.hasStreamExists() ? STREAM_EXISTS : ANY;
}

function add(write: Write, message: Message): void {
  const id = message.getId()?.getString() ?? '';
  const tags = message.getMetadataMap();
  const type = tags.get('type');
  const contentType = tags.get('content-type');
  if (!UUID.test(id)) throw unhandled();
  if (type === undefined || contentType === undefined) {
    throw failure(grpc.status.INVALID_ARGUMENT, 'Required Metadata Property is missing', {
      exception: 'missing-required-metadata-property',
      'required-metadata-properties': 'type,content-type',
    });
  }
  const data = message.getData_asU8();
  const metadata = message.getCustomMetadata_asU8();
  write.size += data.length + metadata.length + type.length + OVERHEAD;
  write.events.push({ id: id.toLowerCase(), type, contentType, data, metadata });
}

/** What the real server makes of an exception of its own. */
function unhandled(): Error {
  return failure(grpc.status.UNKNOWN, 'Exception was thrown by handler.');
}

function tooLarge(): Error {
  return failure(grpc.status.INVALID_ARGUMENT, `Maximum Append Size of ${MAX_APPEND_SIZE} Exceeded.`, {
    exception: 'maximum-append-size-exceeded',
    'maximum-append-size': String(MAX_APPEND_SIZE),
  });
}

function response(outcome: AppendOutcome, expected: Expected): InstanceType<typeof streams.AppendResp> {
  const answer = new streams.AppendResp();
  if (outcome.kind === 'appended') {
    const success = new streams.AppendResp.Success().setCurrentRevision(String(outcome.revision));
    if (outcome.position === null) success.setNoPosition(new shared.Empty());
    else {
      const position = String(outcome.position);
      success.setPosition(
        new streams.AppendResp.Position().setCommitPosition(position).setPreparePosition(position),
      );
    }
    return answer.setSuccess(success);
  }
  const conflict = new streams.AppendResp.WrongExpectedVersion();
  if (outcome.current >= 0) conflict.setCurrentRevision(String(outcome.current));
  else conflict.setCurrentNoStream(new shared.Empty());
  if (expected >= 0) conflict.setExpectedRevision(String(expected));
  else if (expected === NO_STREAM) conflict.setExpectedNoStream(new shared.Empty());
  else conflict.setExpectedAny(new shared.Empty());
  return answer.setWrongExpectedVersion(conflict);
}
