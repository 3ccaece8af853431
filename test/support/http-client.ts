import { randomUUID } from 'node:crypto';

/** What a request was answered. */
export interface Answer {
  readonly status: number;
  readonly headers: Headers;
  /** The parsed body; its shape is what the tests are about. */
  readonly body: Body;
}

export interface Body {
  readonly success?: boolean;
  readonly message?: string;
  readonly data?: unknown;
  readonly meta?: unknown;
  readonly errors?: Readonly<Record<string, readonly string[]>>;
  readonly retryAfter?: unknown;
}

export interface CallOptions {
  /** An access token or an API key. */
  readonly token?: string;
  /** Sent as JSON; a string goes as it is. */
  readonly body?: unknown;
  readonly headers?: Readonly<Record<string, string>>;
}

export type Call = (method: string, path: string, options?: CallOptions) => Promise<Answer>;

/**
 * A client of the service at `base`, e.g. `http://127.0.0.1:3000`.
 * @param patience milliseconds after which a request is given up; default never
 */
export function httpClient(base: string, patience?: number): Call {
  return async (method, path, { token, body, headers = {} } = {}) => {
    const response = await fetch(base + path, {
      method,
      headers: {
        ...(token !== undefined && { authorization: `Bearer ${token}` }),
        ...(body !== undefined && { 'content-type': 'application/json' }),
        ...headers,
      },
      ...(body !== undefined && { body: typeof body === 'string' ? body : JSON.stringify(body) }),
      ...(patience !== undefined && { signal: AbortSignal.timeout(patience) }),
    });
    const text = await response.text();
    return {
      status: response.status,
      headers: response.headers,
      body: (text === '' ? {} : JSON.parse(text)) as Body,
    };
  };
}

/** A new user of the service at `base`, with an API key as token. */
export async function registerUser(base: string): Promise<{ id: string; token: string }> {
  const body = { email: `${randomUUID()}@example.com`, password: 'securepassword123' };
  const answer = await httpClient(base)('POST', '/api/auth/register', { body });
  if (answer.status !== 201) throw new Error(`Not registered: ${JSON.stringify(answer)}`);
  const { id, apiKey: token } = answer.body.data as { id: string; apiKey: string };
  return { id, token };
}
