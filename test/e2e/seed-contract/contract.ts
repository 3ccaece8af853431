import { randomUUID } from 'node:crypto';
import { setTimeout as delay } from 'node:timers/promises';
import { describe, expect, test } from 'vitest';
import { createAccounts } from '../../support/accounts.ts';
import type { Account, Accounts } from '../../support/accounts.ts';
import { deployments } from '../../support/deployments.ts';
import type { Deployment } from '../../support/deployments.ts';
import { holdable } from '../../support/hold.ts';
import { httpClient } from '../../support/http-client.ts';
import type { Answer, Call, CallOptions } from '../../support/http-client.ts';
import type { Service, ServiceSettings } from '../../support/service.ts';
import { sharing } from '../../support/sharing.ts';
import { eventually } from '../../support/waiting.ts';

export interface User extends Account {
  readonly accessToken: string;
  readonly refreshToken: string;
}

export interface JobData {
  readonly id: string;
  readonly userId: string;
  readonly type: string;
  readonly status: 'PENDING' | 'PROCESSING' | 'DONE' | 'FAILED' | 'CANCELLED';
  readonly payload: unknown;
  readonly result: unknown;
  readonly webhookUrl: string | null;
  readonly createdAt: string;
  readonly updatedAt: string;
}

/** Ids and times of the document's examples match by their shape. */
export const anId = expect.stringMatching(/^\S{8,}$/) as string;
export const anInstant = expect.stringMatching(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/) as string;
export const anyText = expect.any(String) as string;

/** What must have happened by then, whatever else the machine does. */
export const PATIENCE_MS = 20_000;

export const EMAIL_JOB = {
  type: 'send-email',
  payload: {
    to: 'recipient@example.com',
    subject: 'Welcome to Asyncly',
    body: 'Your account has been created.',
  },
};

interface Started {
  readonly service: Service;
  readonly accounts: Accounts | null;
}

/** Sections of a file that want the same deployment and settings have one service. */
const share = sharing(async ({ service, accounts }: Started) => {
  await accounts?.close();
  await service.stop();
});

/**
 * Declares the tests of one section of the document, for each deployment.
 * @param settings of the service that they need
 * @param options `sideBySide`: the tests of all deployments at the same time, for those that mostly wait for what the document
 * says takes seconds
 */
export function describeContract(
  section: string,
  define: (contract: Contract) => void,
  settings: ServiceSettings = {},
  { sideBySide = false }: { readonly sideBySide?: boolean } = {},
): void {
  const all = deployments();
  for (const deployment of all) {
    const name = all.length > 1 ? `${section} (${deployment.name})` : section;
    (sideBySide ? describe.concurrent : describe)(name, () => {
      const contract = new Contract(deployment, settings);
      define(contract);
    });
  }
}

/** A service as its users see it, and what they commonly do with it. */
export class Contract {
  readonly configurable: boolean;
  /** For what needs settings or handlers that a service of somebody else has not. */
  readonly special: typeof test | typeof test.skip;
  readonly #started: () => Started;

  constructor(deployment: Deployment, settings: ServiceSettings) {
    this.#started = share(JSON.stringify([deployment.name, settings]), () => start(deployment, settings));
    this.configurable = deployment.configurable;
    this.special = deployment.configurable ? test : test.skip;
  }

  get service(): Service {
    return this.#started().service;
  }

  /** A request below the base URL, `/api`. */
  readonly call: Call = (method, route, options) =>
    httpClient(`${this.service.base}/api`)(method, route, options);

  /** Like `call`, but waits as long as the rate limit of a service with the usual settings asks for. */
  async patientCall(method: string, route: string, options?: CallOptions): Promise<Answer> {
    for (;;) {
      const answer = await this.call(method, route, options);
      if (answer.status !== 429) return answer;
      await delay((Number(answer.headers.get('retry-after')) || 1) * 1_000);
    }
  }

  async newUser(): Promise<User> {
    const account = (await this.#started().accounts?.newAccount()) ?? (await this.#register());
    const { email, password } = account;
    const login = await this.patientCall('POST', '/auth/login', { body: { email, password } });
    expect(login.status).toBe(200);
    return { ...account, ...(login.body.data as Pick<User, 'accessToken' | 'refreshToken'>) };
  }

  async #register(): Promise<Account> {
    const credentials = { email: `${randomUUID()}@example.com`, password: 'securepassword123' };
    const { status, body } = await this.patientCall('POST', '/auth/register', { body: credentials });
    expect(status).toBe(201);
    return { ...credentials, ...(body.data as Pick<Account, 'id' | 'apiKey'>) };
  }

  async submit({ accessToken }: User, body: object = EMAIL_JOB): Promise<JobData> {
    const answer = await this.call('POST', '/jobs', { token: accessToken, body });
    expect(answer.body).toMatchObject({ success: true });
    return answer.body.data as JobData;
  }

  async job({ accessToken }: User, id: string): Promise<JobData> {
    const answer = await this.call('GET', `/jobs/${id}`, { token: accessToken });
    expect(answer.status).toBe(200);
    return answer.body.data as JobData;
  }

  /** The job once it has this status. */
  async jobIn(status: JobData['status'], user: User, id: string): Promise<JobData> {
    return eventually(async () => {
      const job = await this.job(user, id);
      expect(job.status).toBe(status);
      return job;
    }, PATIENCE_MS);
  }

  /** A job that is PROCESSING and stays so until `release` is called. */
  async hold(user: User): Promise<{ job: JobData; release: () => Promise<void> }> {
    const { body, release } = await holdable();
    const job = await this.submit(user, body);
    return { job: await this.jobIn('PROCESSING', user, job.id), release };
  }

  /** Entries of a list below a job, once there are as many as wanted. */
  async entries<Entry>(user: User, route: string, least: number): Promise<readonly Entry[]> {
    return eventually(async () => {
      const answer = await this.call('GET', route, { token: user.accessToken });
      const entries = answer.body.data as readonly Entry[];
      expect(entries.length).toBeGreaterThanOrEqual(least);
      return entries;
    }, PATIENCE_MS);
  }
}

async function start(deployment: Deployment, settings: ServiceSettings): Promise<Started> {
  const service = await deployment.start(settings);
  return { service, accounts: service.databaseUrl === null ? null : createAccounts(service.databaseUrl) };
}

/** Holds an answer to the error format of the document, and to its text. */
export function expectError(
  answer: Answer,
  status: number,
  message: string,
  errors?: Readonly<Record<string, readonly string[]>>,
): void {
  expect(answer.status).toBe(status);
  expect(answer.headers.get('content-type')).toMatch(/^application\/json/);
  expect(answer.body).toMatchObject({ success: false, message });
  if (errors === undefined) expect(answer.body).not.toHaveProperty('data');
  else expect(answer.body.errors).toEqual(errors);
}
