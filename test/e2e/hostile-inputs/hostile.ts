import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { createAccounts } from '../../support/accounts.ts';
import type { Account } from '../../support/accounts.ts';
import { createDatabase } from '../../../src/infrastructure/postgres/database.ts';
import { silentLogger } from '../../support/database.ts';
import { ownDeployments } from '../../support/deployments.ts';
import type { OwnDeployment } from '../../support/deployments.ts';
import { httpClient } from '../../support/http-client.ts';
import { rawRequest, sendRaw } from '../../support/raw-http.ts';
import type { RawAnswer } from '../../support/raw-http.ts';
import type { ServiceSettings } from '../../support/service.ts';
import { sharing } from '../../support/sharing.ts';

export const JSON_TYPE = 'Content-Type: application/json';
/** The least of a submission. */
export const fine = { type: 't', payload: {} };

/** `levels` times nested JSON. */
export function nested(open: string, close: string, levels: number): string {
  return `${open.repeat(levels)}1${close.repeat(levels)}`;
}

/** A well-formed address of this many characters. */
export function longEmail(length: number): string {
  const domain = `@${'d'.repeat(60)}.${'e'.repeat(60)}.${'f'.repeat(60)}.example`;
  return 'x'.repeat(length - domain.length) + domain;
}

/** What is sent, and the message it is refused with or the fields that a validation error names. */
export type Case = readonly [
  name: string,
  request: () => Promise<RawAnswer>,
  message: string | readonly string[],
];

const share = sharing((started: Started) => started.stop());

type Started = Awaited<ReturnType<typeof start>>;

/** A service, an account, and a job of its owner's. */
async function start(deployment: OwnDeployment, settings: ServiceSettings) {
  const service = await deployment.start({ RATE_LIMIT_JOBS_PER_MINUTE: '100000', ...settings });
  const { base, databaseUrl, eventStore } = service;
  const accounts = createAccounts(databaseUrl);
  const database = createDatabase({
    url: databaseUrl,
    max: 1,
    applicationName: 'test',
    logger: silentLogger,
  });
  const account = await accounts.newAccount();
  const call = httpClient(`${base}/api`);
  const answer = await call('POST', '/jobs', {
    token: account.apiKey,
    body: { type: 't', payload: { n: 1 } },
  });
  const { id: jobId } = answer.body.data as { id: string };
  return {
    base,
    account,
    jobId,
    /** How much there is of what a request could have written. */
    async written(): Promise<unknown> {
      const { rows } = await database.query(
        `SELECT (SELECT count(*) FROM users) AS users, (SELECT count(*) FROM refresh_tokens) AS tokens,
                (SELECT count(*) FROM eventstore.events) AS events`,
      );
      return [rows[0], eventStore?.log.all.length];
    },
    async stop(): Promise<void> {
      await Promise.all([accounts.close(), database.close()]);
      await service.stop();
    },
  };
}

/** A service under attack by one of its users. */
export class Target {
  readonly #started: () => Started;

  constructor(deployment: OwnDeployment, settings: ServiceSettings) {
    this.#started = share(JSON.stringify([deployment.name, settings]), () => start(deployment, settings));
  }

  get base(): string {
    return this.#started().base;
  }

  get account(): Account {
    return this.#started().account;
  }

  /** The header that proves who asks. */
  get auth(): string {
    return `Authorization: Bearer ${this.account.apiKey}`;
  }

  get jobId(): string {
    return this.#started().jobId;
  }

  readonly written = (): Promise<unknown> => this.#started().written();

  readonly send = (
    method: string,
    path: string,
    headers: string[] = [],
    body: string | Buffer | null = null,
  ): Promise<RawAnswer> => sendRaw(this.base, rawRequest(method, path, headers, body));

  readonly sendRaw = (text: string | Buffer): Promise<RawAnswer> => sendRaw(this.base, text);

  readonly get = (path: string, ...headers: string[]): Promise<RawAnswer> =>
    this.send('GET', path, [this.auth, ...headers]);

  readonly submit = (body: string | Buffer, ...headers: string[]): Promise<RawAnswer> =>
    this.send('POST', '/api/jobs', [this.auth, JSON_TYPE, ...headers], body);

  readonly submitJob = (job: object): Promise<RawAnswer> => this.submit(JSON.stringify(job));

  /** Submits a job with this text for a payload. */
  readonly payload = (text: string): Promise<RawAnswer> => this.submit(`{"type":"t","payload":${text}}`);

  readonly authenticate = (path: string, body: unknown): Promise<RawAnswer> =>
    this.send('POST', `/api/auth/${path}`, [JSON_TYPE], JSON.stringify(body));

  /** Declares a test for each case. */
  readonly refused = (status: number, cases: readonly Case[]): void => {
    test.each(cases)('%s', async (_, request, what) => {
      expectRefusal(await request(), status, what);
    });
  };
}

/** Declares tests for each deployment. @param settings of the service that they need */
export function describeHostile(
  subject: string,
  define: (target: Target) => void,
  settings: ServiceSettings = {},
): void {
  for (const deployment of ownDeployments) {
    describe(`${subject} (${deployment.name})`, () => define(new Target(deployment, settings)));
  }
}

/** After each request that is refused, nothing is there that was not, and the service answers as before. */
export function describeRefusals(subject: string, define: (target: Target) => void): void {
  const declare = (target: Target): void => {
    let before: unknown;
    beforeEach(async () => {
      before = await target.written();
    });
    afterEach(async () => {
      expect(await target.written()).toEqual(before);
      const { status, text } = await target.get(`/api/jobs/${target.jobId}`);
      expect(status).toBe(200);
      expect(JSON.parse(text)).toMatchObject({
        success: true,
        data: { status: 'PENDING', payload: { n: 1 } },
      });
    });
    define(target);
  };
  // Nothing but the requests writes anything.
  describeHostile(subject, declare, { ROLES: 'api' });
}

/** Expects the error format with this message, or a validation error of these fields. */
function expectRefusal({ status, headers, text }: RawAnswer, expected: number, what: Case[2]): void {
  expect([status, text]).toEqual([expected, text]);
  expect(headers['content-type']).toBe('application/json; charset=utf-8');
  const body = JSON.parse(text) as { errors?: Record<string, string[]> };
  if (typeof what === 'string') expect(body).toEqual({ success: false, message: what });
  else {
    expect(body).toMatchObject({ success: false, message: 'Validation error' });
    expect(Object.keys(body.errors ?? {})).toEqual(what);
  }
}
