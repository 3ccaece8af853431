import { randomUUID } from 'node:crypto';
import type { IncomingMessage, Server } from 'node:http';
import type { Duplex } from 'node:stream';
import { WebSocketServer } from 'ws';
import type { WebSocket } from 'ws';
import type { Bus } from '../../bus.ts';
import { AppError, errorMessage, UnavailableError } from '../../errors.ts';
import type { EventStore } from '../../events/event-store.ts';
import type { Grant, Identity } from '../../identity/identity.ts';
import type { Logger } from '../../logger.ts';
import type { JobQueries } from '../../queries/jobs.ts';
import type { LiveQueries } from '../../queries/live.ts';
import type { Service } from '../../service.ts';
import { pathOf } from '../request-context.ts';
import { UNAVAILABLE } from '../unavailable.ts';
import { createCheckpointGate } from './checkpoint-gate.ts';
import { createJobOwners } from './job-owners.ts';
import { LiveClients } from './live-clients.ts';
import type { Client } from './live-clients.ts';
import { LiveConnection } from './live-connection.ts';
import { defaultLiveLimits } from './live-limits.ts';
import type { LiveServerLimits } from './live-limits.ts';
import { createLiveFeed } from './live-feed.ts';
import type { LiveFeedOptions } from './live-feed.ts';
import { createLiveSocket } from './live-socket.ts';
import type { LiveSocket } from './live-socket.ts';
import { createMeter } from './meter.ts';
import { answer, serveWithoutUpgrade } from './raw-http.ts';
import { createScanner } from './scan.ts';
import { boundUnreadMessages } from './unread-messages.ts';
import { credentialOf, isOriginAllowed, isWebSocketUpgrade, SUBPROTOCOL } from './upgrade-request.ts';

export interface LiveServerOptions {
  readonly server: Server;
  readonly store: EventStore;
  readonly bus: Bus;
  readonly identity: Pick<Identity, 'grant' | 'findRevoked'>;
  readonly jobs: JobQueries;
  readonly queries: LiveQueries;
  /** See {@link LiveFeedOptions.observe}. */
  readonly observe?: LiveFeedOptions['observe'];
  /** Origins whose pages may connect, beside the service's own. */
  readonly allowedOrigins: readonly string[];
  readonly logger: Logger;
  readonly limits?: Partial<LiveServerLimits>;
}

/** Bytes of one message from a client. */
const MAX_MESSAGE_BYTES = 65_536;
const PATHS = ['/', '/ws'];
/** The longest that a timer can wait. */
const MAX_TIMER_MS = 2 ** 31 - 1;

/**
 * Serves WebSocket clients on `/` and `/ws` of an HTTP server. Its `stop` closes every socket with 1001; it must come before
 * the server's own, which waits for them.
 */
export function startLiveServer(options: LiveServerOptions): Service {
  const { server, store, bus, identity, jobs, queries, allowedOrigins, logger } = options;
  const limits = { ...defaultLiveLimits, ...options.limits };
  const gate = createCheckpointGate({ queries, bus, logger });
  const owners = createJobOwners({ queries, store });
  const feed = createLiveFeed({ store, gate, owners, observe: options.observe, logger });
  const scan = createScanner({
    store,
    owners,
    logger,
    maxEvents: limits.scannedEvents,
    concurrency: limits.scans,
  });
  const wss = new WebSocketServer({
    noServer: true,
    clientTracking: false,
    maxPayload: MAX_MESSAGE_BYTES,
    perMessageDeflate: false,
    // Never the one that holds the credential.
    handleProtocols: (protocols) => (protocols.has(SUBPROTOCOL) ? SUBPROTOCOL : false),
  });
  const clients = new LiveClients();
  const unread = boundUnreadMessages(limits.unreadBytes);
  wss.on('wsClientError', (_error, socket) => answer(socket, 400));
  let pending = 0;
  let stopping: Promise<void> | null = null;

  async function upgrade(req: IncomingMessage, socket: Duplex, head: Buffer): Promise<void> {
    if (!isWebSocketUpgrade(req)) {
      serveWithoutUpgrade(server, req, socket, head);
      return;
    }
    socket.on('error', () => socket.destroy());
    const path = pathOf(req.url ?? '');
    const refusal = refuse(req, path);
    if (refusal !== null) {
      logger.info({ path, status: refusal }, 'websocket refused');
      answer(socket, refusal);
      return;
    }
    pending++;
    let admitted: Grant | Rejection;
    try {
      admitted = await admit(req);
    } finally {
      pending--;
    }
    wss.handleUpgrade(req, socket, head, (ws) => accept(ws, admitted, path));
  }

  function refuse(req: IncomingMessage, path: string): number | null {
    if (!PATHS.includes(path)) return 404;
    if (!isOriginAllowed(req, allowedOrigins)) return 403;
    if (stopping !== null || pending >= limits.pendingUpgrades || clients.size >= limits.sockets) return 503;
    return null;
  }

  /** Never rejects: what is wrong is told after the handshake, as a close code, since browsers show no status. */
  async function admit(req: IncomingMessage): Promise<Grant | Rejection> {
    const credential = credentialOf(req);
    if (credential === null) return { code: 1008, reason: 'Access token required' };
    try {
      return await identity.grant(credential);
    } catch (error) {
      if (error instanceof UnavailableError) return { code: 1013, reason: UNAVAILABLE };
      if (error instanceof AppError) return { code: 1008, reason: error.message };
      logger.error({ err: error }, 'A WebSocket client could not be authenticated');
      return { code: 1011, reason: 'Internal error' };
    }
  }

  function accept(ws: WebSocket, admitted: Grant | Rejection, path: string): void {
    const began = performance.now();
    const connectionId = randomUUID();
    const userId = 'userId' in admitted ? admitted.userId : null;
    ws.on('error', (error) => logger.debug({ connectionId, reason: errorMessage(error) }, 'websocket error'));
    ws.once('close', (code) => {
      const ms = Math.round(performance.now() - began);
      logger.info({ path, connectionId, userId, code, ms }, 'websocket');
    });
    const socket = createLiveSocket(ws, unread, (buffered) =>
      logger.warn({ connectionId, userId, buffered }, 'A WebSocket client does not read: cut off'),
    );
    if (stopping !== null) {
      socket.close(1001, 'Service stops');
      return;
    }
    if (!('userId' in admitted)) {
      socket.close(admitted.code, admitted.reason);
      return;
    }
    if (clients.socketsOf(admitted.userId) >= limits.socketsPerUser) {
      socket.close(1013, `Too many connections: at most ${limits.socketsPerUser} for one user`);
      return;
    }
    serve({ ws, socket, grant: admitted, alive: true });
  }

  function serve(client: Client): void {
    const { ws, socket, grant } = client;
    clients.add(client);
    const { userId } = grant;
    const connection = new LiveConnection({
      ...{ userId, socket, feed, scan, store, jobs, queries, limits, logger },
    });
    const expiry = grant.expiresAt === null ? null : closeAt(grant.expiresAt, socket);
    const controlFrames = createMeter(limits.controlFrames);
    const meterControl = (): void => {
      if (!controlFrames.take()) socket.close(1008, 'Too many heartbeats');
    };
    ws.on('ping', meterControl);
    ws.on('pong', () => {
      client.alive = true;
      meterControl();
    });
    ws.on('message', (data: Buffer, isBinary: boolean) => {
      connection.receive(isBinary ? null : data.toString('utf8'));
    });
    socket.signal.addEventListener('abort', () => {
      clients.delete(client);
      feed.leave(connection);
      expiry?.cancel();
    });
    // Whatever the client sends before the feed runs waits in its socket.
    ws.pause();
    feed.join(connection).then(
      () => {
        if (socket.signal.aborted) {
          feed.leave(connection);
          return;
        }
        connection.greet();
        ws.resume();
      },
      (error: unknown) => {
        logger.warn({ reason: errorMessage(error) }, 'Live feed not available');
        socket.close(1013, UNAVAILABLE);
      },
    );
  }

  async function beat(): Promise<void> {
    for (const client of clients) {
      if (client.alive) {
        client.alive = false;
        client.ws.ping();
      } else {
        client.ws.terminate();
      }
    }
    if (clients.size === 0) return;
    // The bus may have lost the word of a logout, and keys are taken away without one.
    const revoked = await identity.findRevoked([...clients].map(({ grant }) => grant));
    for (const { grant, socket } of [...clients]) if (revoked.has(grant)) socket.close(1008, ENDED);
  }

  const heartbeat = setInterval(() => {
    beat().catch((error: unknown) =>
      logger.warn({ reason: errorMessage(error) }, 'Credentials of WebSocket clients not checked'),
    );
  }, limits.heartbeatMs);
  const leaveBus = bus.subscribe('session-ended', ({ sessionId }) => {
    for (const { grant, socket } of [...clients])
      if (grant.sessionId === sessionId) socket.close(1008, ENDED);
  });
  server.on('upgrade', (req: IncomingMessage, socket: Duplex, head: Buffer) => {
    upgrade(req, socket, head).catch((error: unknown) => {
      logger.error({ err: error }, 'A WebSocket upgrade failed');
      socket.destroy();
    });
  });

  async function stop(): Promise<void> {
    clearInterval(heartbeat);
    leaveBus();
    const open = [...clients];
    const closed = Promise.all(
      open.map(({ ws }) => new Promise<void>((resolve) => void ws.once('close', () => resolve()))),
    );
    for (const { socket } of open) socket.close(1001, 'Service stops');
    const late = setTimeout(() => {
      for (const { ws } of open) ws.terminate();
    }, limits.stopMs);
    await closed;
    clearTimeout(late);
    gate.close();
    await feed.close();
  }

  return { stop: () => (stopping ??= stop()) };
}

const ENDED = 'Session ended';

interface Rejection {
  readonly code: number;
  readonly reason: string;
}

function closeAt(time: number, socket: LiveSocket): { cancel: () => void } {
  let timer: NodeJS.Timeout;
  const wait = (): void => {
    const left = time - Date.now();
    if (left <= 0) socket.close(1008, 'Access token expired');
    else timer = setTimeout(wait, Math.min(left, MAX_TIMER_MS));
  };
  // Not within the call: the socket is still being set up.
  timer = setTimeout(wait, 0);
  return { cancel: () => clearTimeout(timer) };
}
