import { Agent, Client, fetch as undiciFetch } from 'undici';
import type { Dispatcher, RequestInit, Response } from 'undici';
import { checkUrl, DestinationNotAllowedError } from './address-policy.ts';
import { guardedConnector } from './guarded-connector.ts';
import type { GuardOptions } from './guarded-connector.ts';

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

export interface EgressResponse {
  readonly status: number;
  /** The beginning of the answer, at most `maxResponseBytes`. */
  readonly body: string;
}

/** The one way out of the service: every request to a user's URL goes through here. */
export interface EgressClient {
  /**
   * Sends one request on a connection of its own, so that every request is checked anew. Redirects are not followed.
   * @throws DestinationNotAllowedError before a byte is sent; RequestFailedError when there is no whole answer
   */
  send(request: EgressRequest): Promise<EgressResponse>;
  /** Like the global `fetch`, with every connection guarded, those of redirects too. @throws DestinationNotAllowedError */
  fetch(url: string | URL, init?: RequestInit): Promise<Response>;
  close(): Promise<void>;
}

/** There was no whole answer. The message is fit for the job's owner: it names no address. */
export class RequestFailedError extends Error {}

/** Connections that `fetch` keeps to one origin. */
const FETCH_CONNECTIONS = 64;

export function createEgressClient(options: GuardOptions): EgressClient {
  const { allowPrivateNetworks } = options;
  let agent: Agent | undefined;
  return {
    async send({ timeoutMs, signal, ...request }) {
      const destination = checkUrl(request.url, allowPrivateNetworks);
      // Not AbortSignal.timeout and any: Node 20 may collect those before they fire.
      const stop = new AbortController();
      const interrupt = (): void => stop.abort(new RequestFailedError('Interrupted'));
      const late = new RequestFailedError(`Timed out after ${timeoutMs} ms`);
      const deadline = setTimeout(() => stop.abort(late), timeoutMs);
      if (signal?.aborted === true) interrupt();
      signal?.addEventListener('abort', interrupt, { once: true });
      const client = new Client(destination.origin, { connect: guardedConnector(options, stop.signal) });
      try {
        return await Promise.race([exchange(client, destination, request), aborted(stop.signal)]);
      } catch (error) {
        throw publicError(stop.signal.aborted ? stop.signal.reason : error);
      } finally {
        clearTimeout(deadline);
        signal?.removeEventListener('abort', interrupt);
        // Also ends what the race has left behind: a look-up, a connection, an answer without end.
        stop.abort();
        client.destroy().catch(() => undefined);
      }
    },
    fetch: async (url, init = {}) => {
      checkUrl(String(url), allowPrivateNetworks);
      agent ??= new Agent({ connect: guardedConnector(options), connections: FETCH_CONNECTIONS });
      try {
        return await undiciFetch(url, { ...init, dispatcher: agent });
      } catch (error) {
        // fetch wraps what went wrong below; a handler should read of the cause.
        const cause: unknown = error instanceof Error ? error.cause : undefined;
        throw cause instanceof DestinationNotAllowedError ? cause : error;
      }
    },
    close: async () => agent?.destroy(),
  };
}

type Exchange = Omit<EgressRequest, 'timeoutMs' | 'signal'>;

async function exchange(
  client: Client,
  { pathname, search }: URL,
  { method, headers, body, maxResponseBytes }: Exchange,
): Promise<EgressResponse> {
  const response = await client.request({
    path: pathname + search,
    method,
    headers,
    ...(body !== undefined && { body }),
    reset: true,
  });
  return { status: response.statusCode, body: await readUpTo(response.body, maxResponseBytes) };
}

/** Rejects when the signal is aborted, which undici itself does not notice while it connects. */
function aborted(signal: AbortSignal): Promise<never> {
  return new Promise((_, reject) => {
    const end = (): void => reject(signal.reason as Error);
    if (signal.aborted) end();
    else signal.addEventListener('abort', end, { once: true });
  });
}

async function readUpTo(body: Dispatcher.ResponseData['body'], maxBytes: number): Promise<string> {
  const chunks: Uint8Array[] = [];
  let left = maxBytes;
  for await (const chunk of body as AsyncIterable<Uint8Array>) {
    chunks.push(chunk.subarray(0, left));
    left -= chunk.length;
    if (left <= 0) break;
  }
  return Buffer.concat(chunks).toString('utf8');
}

/** Texts for undici's own codes. */
const texts: Readonly<Record<string, string>> = {
  UND_ERR_CONNECT_TIMEOUT: 'connect ETIMEDOUT',
  UND_ERR_SOCKET: 'The connection was closed without an answer',
};

function publicError(error: unknown): Error {
  if (error instanceof DestinationNotAllowedError || error instanceof RequestFailedError) return error;
  return new RequestFailedError(publicText(error), { cause: error });
}

/** What the job's owner may know: which call failed and how, in Node's words, without the addresses in its message. */
function publicText(error: unknown): string {
  const { syscall, code } = error as { syscall?: unknown; code?: unknown };
  if (typeof code !== 'string') return 'The request failed';
  if (typeof syscall !== 'string') return texts[code] ?? code;
  return `${syscall.startsWith('query') ? 'getaddrinfo' : syscall} ${code}`;
}
