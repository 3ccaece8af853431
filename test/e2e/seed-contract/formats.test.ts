import pg from 'pg';
import { expect, test } from 'vitest';
import { anyText, describeContract, EMAIL_JOB, expectError } from './contract.ts';

describeContract('Response Format', (contract) => {
  test('Success', async () => {
    const { accessToken } = await contract.newUser();
    const { status, headers, body } = await contract.call('POST', '/jobs', {
      token: accessToken,
      body: EMAIL_JOB,
    });
    expect(status).toBe(201);
    expect(headers.get('content-type')).toMatch(/^application\/json/);
    expect(body).toMatchObject({ success: true, message: anyText, data: expect.any(Object) as object });
  });

  test('Error', async () => {
    const answer = await contract.call('POST', '/auth/login', { body: {} });
    expectError(answer, 400, 'Validation error');
    for (const texts of Object.values(answer.body.errors!)) {
      expect(texts.length).toBeGreaterThan(0);
      for (const text of texts) expect(text).toEqual(anyText);
    }
  });

  test('Paginated List', async () => {
    const { accessToken } = await contract.newUser();
    const { body } = await contract.call('GET', '/jobs?page=2&limit=3', { token: accessToken });
    expect(body).toMatchObject({
      success: true,
      message: anyText,
      data: [],
      meta: { total: 0, page: 2, limit: 3, totalPages: 0, hasNextPage: false },
    });
    expect((body.meta as { hasPrevPage: unknown }).hasPrevPage).toBeTypeOf('boolean');
  });
});

describeContract('HTTP Status Codes', (contract) => {
  test('200 Success, 201 Created', async () => {
    const { accessToken } = await contract.newUser();
    const created = await contract.call('POST', '/jobs', { token: accessToken, body: EMAIL_JOB });
    expect(created.status).toBe(201);
    expect((await contract.call('GET', '/jobs', { token: accessToken })).status).toBe(200);
  });

  test('400 Bad request / validation error', async () => {
    expectError(await contract.call('POST', '/auth/login', { body: {} }), 400, 'Validation error');
    const broken = await contract.call('POST', '/auth/login', { body: '{"email": ' });
    expect(broken).toMatchObject({ status: 400, body: { success: false, message: anyText } });
  });

  test('401 Unauthorized', async () => {
    expectError(await contract.call('GET', '/jobs'), 401, 'Access token required');
  });

  test('404 Resource not found', async () => {
    const { accessToken } = await contract.newUser();
    for (const route of ['/jobs/cmpc20vzh0000x4ubhy1vc7so', '/nothing']) {
      const answer = await contract.call('GET', route, { token: accessToken });
      expect(answer).toMatchObject({ status: 404, body: { success: false, message: anyText } });
    }
  });

  test('429 Rate limit exceeded', async () => {
    const { accessToken: token } = await contract.newUser();
    const statuses: number[] = [];
    for (let n = 1; n <= 11; n++) {
      statuses.push((await contract.call('POST', '/jobs', { token, body: EMAIL_JOB })).status);
    }
    expect(statuses).toEqual([...Array<number>(10).fill(201), 429]);
  });
});

describeContract(
  'HTTP Status Codes › 500',
  (contract) => {
    contract.special('Internal server error: in the error format, and without detail', async () => {
      const { accessToken } = await contract.newUser();
      const client = new pg.Client({ connectionString: contract.service.databaseUrl! });
      await client.connect();
      try {
        await client.query('ALTER TABLE jobs RENAME TO jobs_elsewhere');
        expectError(
          await contract.call('GET', '/jobs', { token: accessToken }),
          500,
          'Internal server error',
        );
      } finally {
        await client.query('ALTER TABLE jobs_elsewhere RENAME TO jobs').finally(() => client.end());
      }
    });
  },
  { APP_NAME: 'A service of its own, to be broken' },
);
