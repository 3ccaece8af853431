import { lookup } from 'node:dns/promises';
import { isIP } from 'node:net';
import { Agent, buildConnector, fetch as undiciFetch } from 'undici';
import type { RequestInit, Response } from 'undici';
import { checkUrl, DestinationNotAllowedError, isPublicAddress, literalOf } from './address-policy.ts';

/** All addresses of a host name. @throws when it cannot be resolved */
export type Resolve = (hostname: string) => Promise<string[]>;

export interface EgressOptions {
  /** Lets requests go to private and loopback addresses too (`WEBHOOK_ALLOW_PRIVATE_NETWORKS`). */
  readonly allowPrivateNetworks: boolean;
  /** For tests, which must not send a packet even when the guard fails. */
  readonly resolve?: Resolve;
  readonly connect?: buildConnector.connector;
}

export interface EgressRequest {
  readonly url: string;
  readonly method: 'GET' | 'POST';
  readonly headers: Readonly<Record<string, string>>;
  readonly body?: string;
  /** Bounds everything together: name, connection, request and answer. */
  readonly timeoutMs: number;
  /** Bytes of the answer that are read; the rest is cut off. */
  readonly maxResponseBytes: number;
  readonly signal?: AbortSignal;
}

/** The one way out of the service: every request to a user's URL goes through here. */
export interface EgressClient {
  /**
   * Sends one request on a connection of its own, so that every request is checked anew. Redirects are not followed.
   * @throws DestinationNotAllowedError before a byte is sent; RequestFailedError when there is no whole answer
   */
  send(request: EgressRequest): Promise<{ readonly status: number; readonly body: string }>;
  /** Like the global `fetch`, guarded at every redirect. */
  fetch(url: string | URL, init?: RequestInit): Promise<Response>;
  close(): Promise<void>;
}

/** There was no answer. The message is fit for the job's owner: it names no address. */
export class RequestFailedError extends Error {}

const CONNECT_TIMEOUT_MS = 10_000;
/** Addresses of one name that are tried in turn. */
const MAX_ADDRESSES = 4;

export function createEgressClient(options: EgressOptions): EgressClient {
  const { allowPrivateNetworks } = options;
  const agent = new Agent({ connect: guardedConnector(options), connections: 64 });
  return {
    async send({ url, method, headers, body, timeoutMs, maxResponseBytes, signal }) {
      const destination = checkUrl(url, allowPrivateNetworks);
      const deadline = AbortSignal.timeout(timeoutMs);
      try {
        const response = await agent.request({
          origin: destination.origin,
          path: destination.pathname + destination.search,
          method,
          headers,
          ...(body !== undefined && { body }),
          signal: signal === undefined ? deadline : AbortSignal.any([deadline, signal]),
          reset: true,
        });
        return { status: response.statusCode, body: await readUpTo(response.body, maxResponseBytes) };
      } catch (error) {
        if (deadline.aborted) throw new RequestFailedError(`Timed out after ${timeoutMs} ms`);
        throw publicError(error);
      }
    },
    fetch: async (url, init = {}) => {
      checkUrl(String(url), allowPrivateNetworks);
      try {
        return await undiciFetch(url, { ...init, dispatcher: agent });
      } catch (error) {
        // fetch wraps what went wrong below; a handler should read of the cause.
        const cause: unknown = error instanceof Error ? error.cause : undefined;
        throw cause instanceof DestinationNotAllowedError ? cause : error;
      }
    },
    close: () => agent.destroy(),
  };
}

/** Resolves, checks every address, connects to one of those that were checked, and looks again at where that led. */
function guardedConnector(options: EgressOptions): buildConnector.connector {
  const { allowPrivateNetworks, resolve = resolveAll } = options;
  const connect = options.connect ?? buildConnector({ timeout: CONNECT_TIMEOUT_MS });
  const isAllowed = (address: string): boolean => allowPrivateNetworks || isPublicAddress(address);

  async function open(target: buildConnector.Options): Promise<Socket> {
    const host = literalOf(target.hostname);
    const addresses = isIP(host) === 0 ? await resolve(host) : [host];
    // One bad address among good ones is an attack or a mistake; either way nobody is served by guessing.
    if (addresses.length === 0 || !addresses.every(isAllowed)) throw new DestinationNotAllowedError();
    let failure: unknown;
    for (const address of addresses.slice(0, MAX_ADDRESSES)) {
      try {
        const servername = isIP(host) === 0 ? { servername: host } : {};
        const socket = await connected({ ...target, ...servername, hostname: address });
        if (socket.remoteAddress === undefined || isAllowed(unmapped(socket.remoteAddress))) return socket;
        socket.destroy();
        throw new DestinationNotAllowedError();
      } catch (error) {
        if (error instanceof DestinationNotAllowedError) throw error;
        failure = error;
      }
    }
    throw failure;
  }

  function connected(target: buildConnector.Options): Promise<Socket> {
    return new Promise((resolve, reject) => {
      connect(target, (...[error, socket]) => {
        if (error === null) resolve(socket);
        else reject(error);
      });
    });
  }

  return (target, callback) => {
    open(target).then(
      (socket) => callback(null, socket),
      (error: unknown) => callback(error instanceof Error ? error : new Error(String(error)), null),
    );
  };
}

type Socket = Extract<Parameters<buildConnector.Callback>, [null, unknown]>[1];

/** A dual-stack socket shows an IPv4 peer as `::ffff:a.b.c.d`. */
const unmapped = (address: string): string => address.replace(/^::ffff:(?=\d+\.)/i, '');

async function resolveAll(hostname: string): Promise<string[]> {
  return (await lookup(hostname, { all: true })).map(({ address }) => address);
}

async function readUpTo(
  body: AsyncIterable<Uint8Array> & { destroy(): unknown },
  maxBytes: number,
): Promise<string> {
  const chunks: Uint8Array[] = [];
  let left = maxBytes;
  for await (const chunk of body) {
    chunks.push(chunk.subarray(0, left));
    left -= chunk.length;
    if (left <= 0) break;
  }
  return Buffer.concat(chunks).toString('utf8');
}

function publicError(error: unknown): Error {
  if (error instanceof DestinationNotAllowedError) return error;
  const { syscall, code } = error as { syscall?: unknown; code?: unknown };
  if (typeof code !== 'string') return new RequestFailedError('The request failed', { cause: error });
  const text = typeof syscall === 'string' ? `${syscall} ${code}` : code;
  return new RequestFailedError(text, { cause: error });
}
