import { createServer } from 'node:http';
import type { RequestListener, Server, ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { StartupError } from '../errors.ts';
import type { Logger } from '../logger.ts';
import { answerProtocolErrors, refusedAsDoubtful } from './protocol-errors.ts';
import type { Service } from '../service.ts';

export interface HttpServerOptions {
  readonly app: RequestListener;
  readonly host: string;
  /** 0 takes any free one. */
  readonly port: number;
  readonly logger: Logger;
  /** How long a stop waits for requests under way, in milliseconds; default 10,000. */
  readonly drainMs?: number;
  readonly timeouts?: Partial<ClientTimeouts>;
}

/** What a client has, in milliseconds. */
export interface ClientTimeouts {
  /** To send its headers. */
  readonly headers: number;
  /** To send its whole request. */
  readonly request: number;
  /** To go on with a request or with reading an answer. */
  readonly stalled: number;
  /** Until its next request. */
  readonly idle: number;
  /** Between two looks at how long requests have taken. */
  readonly check: number;
}

const defaultTimeouts: ClientTimeouts = {
  headers: 15_000,
  request: 60_000,
  // Longer than any statement may take: while it waits for us, a connection is as still.
  stalled: 60_000,
  // Longer than the usual 60 s of load balancers: it is them who close an idle connection, not us under their feet.
  idle: 65_000,
  check: 5_000,
};

export interface HttpServer extends Service {
  /** The port in use. */
  readonly port: number;
  readonly server: Server;
  /**
   * Stops accepting, lets the requests under way finish, and cuts off whatever is left after `drainMs`. Idempotent.
   */
  stop(): Promise<void>;
}

/**
 * Connections that may wait to be taken, as far as the system allows (Linux: `net.core.somaxconn`). Node's own 511 overflow when clients
 * come back all at once; Linux then falls back on SYN cookies, and some clients are cut off.
 */
const BACKLOG = 4_096;
/** How often a stopping server looks for connections that have become idle. */
const IDLE_CHECK_MS = 50;

/** Listens for HTTP. @throws StartupError when the address cannot be had */
export async function startHttpServer(options: HttpServerOptions): Promise<HttpServer> {
  const { app, host, port, logger, drainMs = 10_000 } = options;
  const timeouts = { ...defaultTimeouts, ...options.timeouts };
  let stopping: Promise<void> | null = null;
  const underWay = new Set<ServerResponse>();
  const server = createServer(
    {
      headersTimeout: timeouts.headers,
      requestTimeout: timeouts.request,
      connectionsCheckingInterval: timeouts.check,
      keepAliveTimeout: timeouts.idle,
      requireHostHeader: false,
    },
    (req, res) => {
      if (stopping !== null) announceClose(res);
      underWay.add(res);
      res.once('close', () => underWay.delete(res));
      if (!refusedAsDoubtful(req, res)) app(req, res);
    },
  );
  server.timeout = timeouts.stalled;
  answerProtocolErrors(server);
  await listen(server, host, port);
  server.on('error', (error) => logger.error({ err: error }, 'HTTP server error'));

  return {
    port: (server.address() as AddressInfo).port,
    server,
    stop() {
      if (stopping === null) for (const res of underWay) announceClose(res);
      return (stopping ??= drain(server, drainMs, logger));
    },
  };
}

/** Tells a client to make its next request on another connection, for this one will be closed under its feet. */
function announceClose(res: ServerResponse): void {
  if (!res.headersSent) res.setHeader('Connection', 'close');
}

function listen(server: Server, host: string, port: number): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', (error: NodeJS.ErrnoException) => reject(listenError(error, host, port)));
    server.listen({ port, host, backlog: BACKLOG }, () => {
      server.removeAllListeners('error');
      resolve();
    });
  });
}

function listenError(error: NodeJS.ErrnoException, host: string, port: number): StartupError {
  const options = { cause: error };
  switch (error.code) {
    case 'EADDRINUSE':
      return new StartupError(
        `PORT ${port} is in use: stop what listens there or set another`,
        { port },
        options,
      );
    case 'EACCES':
      return new StartupError(
        `PORT ${port} is not allowed to this user: set one above 1023`,
        { port },
        options,
      );
    default:
      return new StartupError(
        `Cannot listen on HOST ${host}, PORT ${port}: ${error.message}`,
        { host, port },
        options,
      );
  }
}

async function drain(server: Server, drainMs: number, logger: Logger): Promise<void> {
  const closed = new Promise<void>((resolve) => server.close(() => resolve()));
  // A connection whose last answer goes out after close() would stay open until its keep-alive ends.
  const idle = setInterval(() => server.closeIdleConnections(), IDLE_CHECK_MS);
  const late = setTimeout(() => {
    logger.warn({ drainMs }, 'Requests did not finish in time: their connections are cut');
    server.closeAllConnections();
  }, drainMs);
  await closed;
  clearInterval(idle);
  clearTimeout(late);
}
