import { randomUUID } from 'node:crypto';
import jwt from 'jsonwebtoken';
import { expect, test } from 'vitest';
import { testSecrets } from '../../support/service.ts';
import { anId, anInstant, anyText, describeContract, expectError } from './contract.ts';

const PASSWORD = 'securepassword123';
const newEmail = (): string => `${randomUUID()}@example.com`;

/** The same token, as it would be had it been issued so much earlier. */
function aged(token: string, seconds: number, secret: string): string {
  const claims = jwt.decode(token, { json: true })!;
  const times = { iat: claims.iat! - seconds, exp: claims.exp! - seconds };
  return jwt.sign({ ...claims, ...times }, secret, { algorithm: 'HS256' });
}

/** The beginning of each token in the document: base64url of {"alg":"HS256","typ":"JWT"}. */
const aToken = expect.stringMatching(/^eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9\.[\w-]+\.[\w-]+$/) as string;

describeContract('POST /auth/register', (contract) => {
  const register = (body: unknown) => contract.patientCall('POST', '/auth/register', { body });

  test('Response 201 Created', async () => {
    const email = newEmail();
    const { status, headers, body } = await register({ email, password: PASSWORD });
    expect(status).toBe(201);
    expect(headers.get('content-type')).toMatch(/^application\/json/);
    expect(body).toMatchObject({
      success: true,
      message: 'User registered successfully',
      data: { id: anId, email, apiKey: anId, createdAt: anInstant },
    });
    expect(body.data).not.toHaveProperty('password');
  });

  test('Response 400 — Email already registered', async () => {
    const email = newEmail();
    await register({ email, password: PASSWORD });
    expectError(await register({ email, password: 'another password' }), 400, 'Email already registered');
  });

  test('Response 400 — Validation error', async () => {
    expectError(await register({ email: 'developer', password: 'short' }), 400, 'Validation error', {
      email: ['Invalid email format'],
      password: ['Password must be at least 8 characters'],
    });
  });

  test('Request Body: email is required, in a valid format', async () => {
    for (const email of ['developer@', '@example.com', 'developer example.com', '']) {
      const answer = await register({ email, password: PASSWORD });
      expectError(answer, 400, 'Validation error', { email: ['Invalid email format'] });
    }
    const answer = await register({ password: PASSWORD });
    expectError(answer, 400, 'Validation error');
    expect(Object.keys(answer.body.errors!)).toEqual(['email']);
  });

  test('Request Body: password is required, minimum 8 characters', async () => {
    const short = await register({ email: newEmail(), password: '1234567' });
    expectError(short, 400, 'Validation error', { password: ['Password must be at least 8 characters'] });
    const none = await register({ email: newEmail() });
    expectError(none, 400, 'Validation error');
    expect(Object.keys(none.body.errors!)).toEqual(['password']);
    expect((await register({ email: newEmail(), password: '12345678' })).status).toBe(201);
  });
});

describeContract('POST /auth/login', (contract) => {
  const login = (body: unknown) => contract.patientCall('POST', '/auth/login', { body });

  test('Response 200 OK', async () => {
    const { email } = await contract.newUser();
    const { status, body } = await login({ email, password: PASSWORD });
    expect(status).toBe(200);
    expect(body).toMatchObject({
      success: true,
      message: 'Login successful',
      data: { accessToken: aToken, refreshToken: aToken },
    });
  });

  test('Note: Access token expires in 15 minutes', async () => {
    const { accessToken, refreshToken } = await contract.newUser();
    const { iat, exp } = jwt.decode(accessToken, { json: true })!;
    expect(exp! - iat!).toBe(15 * 60);
    const refresh = await contract.call('POST', '/auth/refresh', { body: { refreshToken } });
    const { accessToken: next } = refresh.body.data as { accessToken: string };
    expect((await contract.call('GET', '/jobs', { token: next })).status).toBe(200);
  });

  test('Response 401 — Invalid credentials', async () => {
    const { email } = await contract.newUser();
    expectError(await login({ email, password: 'wrong password' }), 401, 'Invalid email or password');
    expectError(await login({ email: newEmail(), password: PASSWORD }), 401, 'Invalid email or password');
  });

  test('Request Body: email and password are required', async () => {
    for (const [body, fields] of [
      [{ password: PASSWORD }, ['email']],
      [{ email: newEmail() }, ['password']],
    ] as const) {
      const answer = await login(body);
      expectError(answer, 400, 'Validation error');
      expect(Object.keys(answer.body.errors!)).toEqual(fields);
    }
  });
});

describeContract('POST /auth/refresh', (contract) => {
  const refresh = (refreshToken?: string) =>
    contract.call('POST', '/auth/refresh', { body: { refreshToken } });

  test('Response 200 OK', async () => {
    const { refreshToken } = await contract.newUser();
    for (let time = 1; time <= 2; time++) {
      const { status, body } = await refresh(refreshToken);
      expect(status).toBe(200);
      expect(body).toMatchObject({
        success: true,
        message: 'Token refreshed',
        data: { accessToken: aToken },
      });
    }
  });

  test('Response 401 — Invalid or expired refresh token', async () => {
    const { accessToken } = await contract.newUser();
    for (const token of ['eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9...', accessToken]) {
      expectError(await refresh(token), 401, 'Invalid refresh token');
    }
  });

  contract.special('Response 401 — Invalid or expired refresh token: expired', async () => {
    const { refreshToken } = await contract.newUser();
    const { iat, exp } = jwt.decode(refreshToken, { json: true })!;
    const old = aged(refreshToken, exp! - iat! + 1, testSecrets.JWT_REFRESH_SECRET);
    expectError(await refresh(old), 401, 'Invalid refresh token');
  });

  test('Request Body: refreshToken is required', async () => {
    const answer = await refresh();
    expectError(answer, 400, 'Validation error');
    expect(Object.keys(answer.body.errors!)).toEqual(['refreshToken']);
  });
});

describeContract('POST /auth/logout', (contract) => {
  test('Response 200 OK', async () => {
    const { refreshToken } = await contract.newUser();
    const { status, body } = await contract.call('POST', '/auth/logout', { body: { refreshToken } });
    expect(status).toBe(200);
    expect(body).toMatchObject({ success: true, message: 'Logout successful' });
  });

  test('Invalidate the current refresh token', async () => {
    const { email, refreshToken } = await contract.newUser();
    const login = await contract.patientCall('POST', '/auth/login', { body: { email, password: PASSWORD } });
    const { refreshToken: other } = login.body.data as { refreshToken: string };
    await contract.call('POST', '/auth/logout', { body: { refreshToken } });
    const late = await contract.call('POST', '/auth/refresh', { body: { refreshToken } });
    expectError(late, 401, 'Invalid refresh token');
    const still = await contract.call('POST', '/auth/refresh', { body: { refreshToken: other } });
    expect(still.status).toBe(200);
  });

  test('Request Body: refreshToken is required', async () => {
    const answer = await contract.call('POST', '/auth/logout', { body: {} });
    expectError(answer, 400, 'Validation error');
    expect(Object.keys(answer.body.errors!)).toEqual(['refreshToken']);
  });
});

describeContract('Authentication', (contract) => {
  const routes = [
    ['POST', '/jobs'],
    ['GET', '/jobs'],
    ['GET', '/jobs/cmpc20vzh0000x4ubhy1vc7so'],
    ['DELETE', '/jobs/cmpc20vzh0000x4ubhy1vc7so'],
    ['GET', '/jobs/cmpc20vzh0000x4ubhy1vc7so/logs'],
    ['GET', '/jobs/cmpc20vzh0000x4ubhy1vc7so/webhook-logs'],
  ] as const;

  test.each(routes)('All job endpoints require a Bearer token: %s %s', async (method, route) => {
    expectError(await contract.call(method, route), 401, 'Access token required');
    const { accessToken } = await contract.newUser();
    const withToken = await contract.call(method, route, { token: accessToken });
    expect(withToken.status).not.toBe(401);
  });

  contract.special('Error Codes: 401 expired token', async () => {
    const { accessToken } = await contract.newUser();
    const list = (seconds: number) =>
      contract.call('GET', '/jobs', { token: aged(accessToken, seconds, testSecrets.JWT_ACCESS_SECRET) });
    expect((await list(14 * 60)).status).toBe(200);
    const late = await list(15 * 60 + 1);
    expect(late.status).toBe(401);
    expect(late.body).toMatchObject({ success: false, message: anyText });
  });
});
