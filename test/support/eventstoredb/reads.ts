import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { setTimeout as delay } from 'node:timers/promises';
import type { Cut, ReadFault } from './faults.ts';
import type { EventLog, LoggedEvent } from './log.ts';
import { failure, grpc, identifierOf, nameOf, notLeader, shared, streams, unavailable } from './protocol.ts';
import type { ReadCall, ReadReq, ReadResp, StreamsServer } from './protocol.ts';
import type { ServerState } from './state.ts';

/** Events the server considers at a time; what a client may set as `checkpointInterval` counts these. */
const PAGE = 32;

export function readHandler(state: ServerState): StreamsServer['read'] {
  return (call: ReadCall) => {
    call.on('error', () => undefined);
    const options = call.request.getOptions()!;
    const subscribes = options.hasSubscription();
    if (subscribes) state.counts.subscriptions++;
    const fault = (subscribes ? state.faults.subscriptions : state.faults.reads).shift() ?? null;
    if (fault !== null) {
      fail(call, fault, state.port);
      return;
    }
    const work = subscribes ? subscribe(state, call, options) : read(state, call, options);
    work.catch((error: unknown) => {
      if (!call.cancelled) call.emit('error', error);
    });
  };
}

function fail(call: ReadCall, fault: ReadFault, port: number): void {
  if (fault === 'clean-end') call.end();
  else if (fault !== 'stall') call.emit('error', fault === 'unavailable' ? unavailable() : notLeader(port));
}

async function read(state: ServerState, call: ReadCall, options: ReadReq.Options): Promise<void> {
  await state.unstalled();
  const count = Number(options.getCount());
  const backwards = options.getReadDirection() === streams.ReadReq.Options.ReadDirection.BACKWARDS;
  const stream = options.getStream();
  if (stream) {
    const name = nameOf(stream.getStreamIdentifier());
    const events = state.log.stream(name);
    if (events.length === 0) {
      const missing = new streams.ReadResp.StreamNotFound().setStreamIdentifier(identifierOf(name));
      call.write(new streams.ReadResp().setStreamNotFound(missing));
    }
    for (const event of page(events, stream, backwards, count)) await write(call, eventOf(event));
  } else {
    const from = startOf(state.log, options);
    const events = state.log.all;
    const first = options.getAll()!.hasEnd() ? events.length : from;
    // Backwards, a position is the end of what is read.
    const wanted = backwards
      ? events.slice(Math.max(first - count, 0), first).reverse()
      : events.slice(first, first + count);
    for (const event of wanted) await write(call, eventOf(event));
  }
  call.end();
}

function page(
  events: readonly LoggedEvent[],
  options: ReadReq.Options.StreamOptions,
  backwards: boolean,
  count: number,
): LoggedEvent[] {
  const last = events.at(-1)?.revision ?? -1;
  if (!backwards) {
    const from = options.hasRevision() ? Number(options.getRevision()) : options.hasEnd() ? last + 1 : 0;
    return events.filter(({ revision }) => revision >= from).slice(0, count);
  }
  const from = options.hasRevision() ? Number(options.getRevision()) : options.hasStart() ? 0 : last;
  // A first page that lies wholly beyond the end comes back empty, and the server leaves it at that.
  if (from - Math.min(PAGE, count) + 1 > last) return [];
  return events
    .filter(({ revision }) => revision <= from)
    .reverse()
    .slice(0, count);
}

async function subscribe(state: ServerState, call: ReadCall, options: ReadReq.Options): Promise<void> {
  const { log, faults } = state;
  const all = options.getAll();
  if (!all) throw failure(grpc.status.UNIMPLEMENTED, 'The double subscribes to $all only');
  const filter = options.getFilter();
  const prefixes = filter?.getStreamIdentifier()?.getPrefixList() ?? [];
  const interval = PAGE * (filter?.getCheckpointintervalmultiplier() ?? 1);
  const matches = ({ stream }: LoggedEvent): boolean =>
    !filter || prefixes.some((prefix) => stream.startsWith(prefix));

  let at = startOf(log, options);
  // Behind the first event at or after the position, which is how servers before 24 make it exclusive.
  if (all.hasPosition()) at++;
  /** Where we are survives the removal of events. */
  let next = log.all[at];
  const confirmation = new streams.ReadResp.SubscriptionConfirmation().setSubscriptionId(randomUUID());
  let cut: ((how: Cut) => void) | undefined;
  const ended = new Promise<void>((resolve) => {
    cut = (how) => {
      if (how === 'clean-end') call.end();
      else call.emit('error', unavailable());
      resolve();
    };
    call.on('cancelled', resolve);
    call.on('close', resolve);
  });
  const left = new AbortController();
  void ended.then(() => left.abort());
  state.running.add(cut!);
  const over = (): boolean => left.signal.aborted || call.cancelled;

  try {
    await write(call, new streams.ReadResp().setConfirmation(confirmation));
    let live = false;
    let considered = 0;
    while (!over()) {
      await Promise.race([state.unstalled(), ended]);
      if (next && log.all[at] !== next) at = log.all.findIndex(({ position }) => position >= next!.position);
      const event = log.all[at];
      if (!event) {
        if (!live) await write(call, new streams.ReadResp().setCaughtUp(new streams.ReadResp.CaughtUp()));
        live = true;
        if (log.all.length <= at) await Promise.race([appended(log, left.signal), ended]);
        continue;
      }
      at++;
      next = log.all[at];
      considered++;
      if (matches(event)) {
        if (faults.deliveryDelay > 0) await delay(faults.deliveryDelay);
        const how = faults.onDelivery(event.stream);
        if (how !== null) {
          cut!(how);
          return;
        }
        state.counts.delivered++;
        state.counts.deliveredBytes += event.data.length;
        await write(call, eventOf(event));
      }
      if (filter && considered % interval === 0) {
        // While it catches up, the server names the place of the next record, with a prepare position of 0.
        const commit = live || !next ? event.position : next.position;
        await write(call, checkpointOf(commit, live || !next ? commit : 0n));
      }
    }
  } finally {
    state.running.delete(cut!);
  }
}

async function appended(log: EventLog, signal: AbortSignal): Promise<void> {
  await once(log, 'appended', { signal }).catch(() => undefined);
}

/** The first event at or after the position that was asked for. */
function startOf(log: EventLog, options: ReadReq.Options): number {
  const position = options.getAll()?.getPosition();
  if (!position) return options.getAll()?.hasEnd() ? log.all.length : 0;
  const commit = BigInt(position.getCommitPosition());
  if (!log.hasRecord(commit)) throw failure(grpc.status.UNKNOWN, 'Unexpected ReadAllResult: InvalidPosition');
  const first = log.all.findIndex((event) => event.position >= commit);
  return first < 0 ? log.all.length : first;
}

/** Waits while the connection has no room, or the call has ended. */
function write(call: ReadCall, message: ReadResp): Promise<void> {
  if (call.write(message) || call.cancelled) return Promise.resolve();
  return new Promise((resolve) => {
    const events = ['drain', 'cancelled', 'close'];
    const done = (): void => {
      for (const event of events) call.off(event, done);
      resolve();
    };
    for (const event of events) call.on(event, done);
  });
}

function checkpointOf(commit: bigint, prepare: bigint): ReadResp {
  const checkpoint = new streams.ReadResp.Checkpoint()
    .setCommitPosition(String(commit))
    .setPreparePosition(String(prepare));
  return new streams.ReadResp().setCheckpoint(checkpoint);
}

function eventOf(event: LoggedEvent): ReadResp {
  const position = String(event.position);
  const recorded = new streams.ReadResp.ReadEvent.RecordedEvent()
    .setId(new shared.UUID().setString(event.id))
    .setStreamIdentifier(identifierOf(event.stream))
    .setStreamRevision(String(event.revision))
    .setCommitPosition(position)
    .setPreparePosition(position)
    .setData(event.data)
    .setCustomMetadata(event.metadata);
  const tags = recorded.getMetadataMap();
  tags.set('type', event.type);
  tags.set('content-type', event.contentType);
  // Ticks of 100 ns.
  tags.set('created', String(BigInt(event.created) * 10_000n));
  return new streams.ReadResp().setEvent(
    new streams.ReadResp.ReadEvent().setEvent(recorded).setCommitPosition(position),
  );
}
