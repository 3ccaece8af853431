import { z } from 'zod';
import { sleep } from '../waiting.ts';
import { errorMessage } from '../errors.ts';

const answer = z.object({
  success: z.boolean(),
  message: z.string(),
  retryAfter: z.number().optional(),
  data: z.unknown(),
});
const user = z.object({ id: z.string(), email: z.string() });
const tokens = z.object({ accessToken: z.string() });
const job = z.object({
  id: z.string(),
  type: z.string(),
  status: z.enum(['PENDING', 'PROCESSING', 'DONE', 'FAILED', 'CANCELLED']),
  result: z.unknown(),
});
const logLines = z.array(z.object({ id: z.string(), message: z.string() }));

export type DemoJob = z.infer<typeof job>;

export interface DemoClientOptions {
  /** Of the service, without `/api`. */
  readonly baseUrl: string;
  /** Ends every wait. */
  readonly signal: AbortSignal;
  /** Told before a wait that the service has asked for, in seconds. */
  readonly onRateLimit: (seconds: number) => void;
}

/** Longest a single request may take. */
const REQUEST_TIMEOUT_MS = 10_000;

/** A client of the REST API, as small as the demo needs one. */
export class DemoClient {
  readonly #options: DemoClientOptions;
  #token: string | null = null;

  constructor(options: DemoClientOptions) {
    this.#options = options;
  }

  register(email: string, password: string): Promise<z.infer<typeof user>> {
    return this.#send('POST', '/auth/register', user, { email, password });
  }

  /** Requests after this one are the user's. */
  async login(email: string, password: string): Promise<void> {
    const { accessToken } = await this.#send('POST', '/auth/login', tokens, { email, password });
    this.#token = accessToken;
  }

  submit(type: string, payload: object): Promise<DemoJob> {
    return this.#send('POST', '/jobs', job, { type, payload });
  }

  job(id: string): Promise<DemoJob> {
    return this.#send('GET', `/jobs/${id}`, job);
  }

  logs(id: string): Promise<z.infer<typeof logLines>> {
    return this.#send('GET', `/jobs/${id}/logs`, logLines);
  }

  /** @throws Error naming the request and what the service said to it */
  async #send<Data>(method: string, path: string, schema: z.ZodType<Data>, body?: object): Promise<Data> {
    const { baseUrl, signal, onRateLimit } = this.#options;
    for (;;) {
      const init = {
        method,
        headers: {
          'Content-Type': 'application/json',
          ...(this.#token === null ? {} : { Authorization: `Bearer ${this.#token}` }),
        },
        ...(body === undefined ? {} : { body: JSON.stringify(body) }),
      };
      const response = await request(`${baseUrl}/api${path}`, init, signal);
      const parsed = answer.safeParse(await response.json().catch(() => null));
      const { success, message, retryAfter, data } = parsed.data ?? {
        success: false,
        message: 'an unexpected answer',
      };
      if (response.status === 429) {
        const seconds = Math.max(1, retryAfter ?? (Number(response.headers.get('retry-after')) || 1));
        onRateLimit(seconds);
        await sleep(seconds * 1_000, signal);
        signal.throwIfAborted();
        continue;
      }
      if (!success) throw new Error(`${method} /api${path} was answered with ${response.status}: ${message}`);
      const wanted = schema.safeParse(data);
      if (!wanted.success)
        throw new Error(`${method} /api${path} was answered with data that the demo does not know`);
      return wanted.data;
    }
  }
}

/** `fetch` that says what is wrong instead of "fetch failed". @throws the reason of `stop` when that was it */
async function request(url: string, init: RequestInit, stop: AbortSignal): Promise<Response> {
  const signal = AbortSignal.any([stop, AbortSignal.timeout(REQUEST_TIMEOUT_MS)]);
  try {
    return await fetch(url, { ...init, signal });
  } catch (error) {
    stop.throwIfAborted();
    const cause = error instanceof TypeError && error.cause !== undefined ? error.cause : error;
    throw new Error(`${url} cannot be reached: ${errorMessage(cause)}`, { cause: error });
  }
}
