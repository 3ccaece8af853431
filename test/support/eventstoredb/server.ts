import { EventEmitter, once } from 'node:events';
import { setTimeout as delay } from 'node:timers/promises';
import { appendHandler, batchAppendHandler, errorOf } from './appends.ts';
import { createFaults } from './faults.ts';
import type { AppendFault, Cut, Faults } from './faults.ts';
import { EventLog } from './log.ts';
import { features, grpc, ServerFeaturesService, StreamsService } from './protocol.ts';
import type { FeaturesServer, StreamsServer } from './protocol.ts';
import { readHandler } from './reads.ts';
import type { Counts, ServerState } from './state.ts';

export interface EventStoreDouble {
  readonly url: string;
  readonly port: number;
  readonly log: EventLog;
  readonly faults: Faults;
  /** What was asked of it so far. */
  readonly counts: Readonly<Counts>;
  /** Ends all subscriptions that run. */
  cutSubscriptions(how: Cut): void;
  /** Cuts every connection; new ones are taken. */
  cutConnections(): void;
  /** Answers nothing, keeping connections open, until the function it returns is called. */
  stall(): () => void;
  /** Ends, cutting every connection; the log stays with the object, for {@link EventStoreDoubleOptions}. */
  stop(): Promise<void>;
}

export interface EventStoreDoubleOptions {
  /** Default: any free one. */
  readonly port?: number;
  /** Of a double that was stopped; default a new one. */
  readonly log?: EventLog;
}

/** Milliseconds after which an append of the fault `timeout` is made after all. */
const LATE = 30;

/**
 * A stand-in for EventStoreDB on the loopback interface, for tests: it speaks the part of the gRPC protocol that the
 * adapter uses, keeps its log in memory, and does wrong on demand. It is no store to keep anything in.
 */
export async function startEventStoreDouble(
  options: EventStoreDoubleOptions = {},
): Promise<EventStoreDouble> {
  const faults = createFaults();
  const released = new EventEmitter<{ released: [] }>();
  released.setMaxListeners(0);
  const state: ServerState = {
    log: options.log ?? new EventLog(),
    faults,
    counts: { appendCalls: 0, batchAppendCalls: 0, subscriptions: 0, delivered: 0, deliveredBytes: 0 },
    running: new Set(),
    port: 0,
    async unstalled() {
      while (faults.stalled) await once(released, 'released');
    },
    async carryOut(stream, append, { fail, answer }) {
      await this.unstalled();
      const fault: AppendFault | null = faults.appends.shift() ?? faults.onAppend(stream);
      if (faults.delay > 0) await delay(faults.delay);
      if (fault === 'stall') return;
      if (fault === null) {
        answer(append());
        return;
      }
      if (fault === 'conflict-after-commit') {
        const outcome = append();
        const isMade = outcome.kind === 'appended';
        answer(isMade ? { kind: 'wrong-expected-version', current: outcome.revision } : outcome);
        return;
      }
      if (fault === 'lost-reply' || fault === 'cut-after-commit') append();
      if (fault !== 'lost-reply') fail(errorOf(fault, this.port));
      if (fault === 'timeout') {
        await delay(LATE);
        append();
      }
    },
  };

  const server = new grpc.Server({ 'grpc.max_receive_message_length': 17 * 1024 * 1024 });
  server.addService(StreamsService, streamsServer(state));
  server.addService(ServerFeaturesService, featuresServer);
  const address = `127.0.0.1:${options.port ?? 0}`;
  state.port = await new Promise<number>((resolve, reject) => {
    server.bindAsync(address, grpc.ServerCredentials.createInsecure(), (error, port) => {
      if (error) reject(error);
      else resolve(port);
    });
  });

  const { log, counts, port } = state;
  return {
    url: `esdb://127.0.0.1:${port}?tls=false`,
    port,
    log,
    faults,
    counts,
    cutSubscriptions(how) {
      for (const cut of [...state.running]) cut(how);
    },
    cutConnections: () => server.drain(`127.0.0.1:${port}`, 0),
    stall() {
      faults.stalled = true;
      return () => {
        faults.stalled = false;
        released.emit('released');
      };
    },
    stop() {
      server.forceShutdown();
      return Promise.resolve();
    },
  };
}

function streamsServer(state: ServerState): StreamsServer {
  const unimplemented = (_: unknown, reply: (error: { code: number }) => void): void =>
    reply({ code: grpc.status.UNIMPLEMENTED });
  return {
    read: readHandler(state),
    append: appendHandler(state),
    batchAppend: batchAppendHandler(state),
    delete: unimplemented,
    tombstone: unimplemented,
  };
}

const featuresServer: FeaturesServer = {
  getSupportedMethods(_, reply) {
    const methods = ['read', 'append', 'batchappend'].map((name) =>
      new features.SupportedMethod()
        .setServiceName('event_store.client.streams.streams')
        .setMethodName(name)
        .setFeaturesList(name === 'read' ? ['all', 'stream'] : []),
    );
    reply(
      null,
      new features.SupportedMethods().setMethodsList(methods).setEventStoreServerVersion('24.10.0'),
    );
  },
};
