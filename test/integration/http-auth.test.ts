import { expect, test } from 'vitest';
import { startApi } from '../support/http.ts';

const credentials = { email: 'developer@example.com', password: 'securepassword123' };
const text = expect.any(String) as string;

test('registering answers with the account and its API key', async () => {
  const { call } = await startApi();
  const { status, body, headers } = await call('POST', '/api/auth/register', { body: credentials });
  expect(status).toBe(201);
  expect(headers.get('cache-control')).toBe('no-store');
  expect(body).toEqual({
    success: true,
    message: 'User registered successfully',
    data: {
      id: text,
      email: credentials.email,
      apiKey: expect.stringMatching(/^ak_[\w-]{43}$/) as string,
      createdAt: expect.stringMatching(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/) as string,
    },
  });
});

test('an address is registered once, whatever its case', async () => {
  const { call } = await startApi();
  await call('POST', '/api/auth/register', { body: credentials });
  const again = { ...credentials, email: 'DEVELOPER@example.com' };
  expect(await call('POST', '/api/auth/register', { body: again })).toMatchObject({
    status: 400,
    body: { success: false, message: 'Email already registered' },
  });
});

test('what is wrong with a registration is named by field', async () => {
  const { call } = await startApi();
  const { status, body } = await call('POST', '/api/auth/register', {
    body: { email: 'x', password: 'short' },
  });
  expect(status).toBe(400);
  expect(body).toEqual({
    success: false,
    message: 'Validation error',
    errors: { email: ['Invalid email format'], password: ['Password must be at least 8 characters'] },
  });
});

test('logging in, refreshing and logging out', async () => {
  const { call } = await startApi();
  await call('POST', '/api/auth/register', { body: credentials });
  const login = await call('POST', '/api/auth/login', { body: credentials });
  expect(login.status).toBe(200);
  expect(login.body).toEqual({
    success: true,
    message: 'Login successful',
    data: { accessToken: text, refreshToken: text },
  });
  const { refreshToken } = login.body.data as { refreshToken: string };

  const refreshed = await call('POST', '/api/auth/refresh', { body: { refreshToken } });
  expect(refreshed.status).toBe(200);
  expect(refreshed.body).toEqual({ success: true, message: 'Token refreshed', data: { accessToken: text } });
  const { accessToken } = refreshed.body.data as { accessToken: string };
  expect((await call('GET', '/api/jobs', { token: accessToken })).status).toBe(200);

  const logout = await call('POST', '/api/auth/logout', { body: { refreshToken } });
  expect(logout.status).toBe(200);
  expect(logout.body).toEqual({ success: true, message: 'Logout successful' });

  const late = await call('POST', '/api/auth/refresh', { body: { refreshToken } });
  expect(late.status).toBe(401);
  expect(late.body).toEqual({ success: false, message: 'Invalid refresh token' });
});

test('wrong credentials are refused in the same words as unknown ones', async () => {
  const { call, registerUser } = await startApi();
  const { email } = await registerUser();
  for (const wrong of [{ email, password: 'another password' }, credentials, { email: 'x', password: 'y' }]) {
    const { status, body } = await call('POST', '/api/auth/login', { body: wrong });
    expect(status).toBe(401);
    expect(body).toEqual({ success: false, message: 'Invalid email or password' });
  }
});

test('what is missing is named', async () => {
  const { call } = await startApi();
  for (const [path, body, fields] of [
    ['/api/auth/login', {}, ['email', 'password']],
    ['/api/auth/login', { email: ['a'], password: { length: 9 } }, ['email', 'password']],
    ['/api/auth/refresh', {}, ['refreshToken']],
    ['/api/auth/logout', { refreshToken: 1 }, ['refreshToken']],
    ['/api/auth/register', [], ['body']],
  ] as const) {
    const answer = await call('POST', path, { body });
    expect(answer).toMatchObject({ status: 400, body: { success: false, message: 'Validation error' } });
    expect(Object.keys(answer.body.errors ?? {})).toEqual(fields);
  }
});

test('job endpoints take an access token or an API key, and nothing else', async () => {
  const { call, registerUser } = await startApi();
  const { accessToken, refreshToken, apiKey } = await registerUser();
  const list = (headers: Record<string, string>) => call('GET', '/api/jobs', { headers });

  for (const headers of [
    { authorization: `Bearer ${accessToken}` },
    { authorization: `bearer ${accessToken}` },
    { authorization: `Bearer ${apiKey}` },
    { 'x-api-key': apiKey },
  ]) {
    expect((await list(headers)).status).toBe(200);
  }
  for (const [headers, message] of [
    [{}, 'Access token required'],
    [{ authorization: 'Bearer ' }, 'Access token required'],
    [{ authorization: `Basic ${accessToken}` }, 'Access token required'],
    [{ authorization: `Bearer ${refreshToken}` }, 'Access token required'],
    [{ authorization: 'Bearer nonsense' }, 'Access token required'],
    [{ authorization: `Bearer ${apiKey}x` }, 'Invalid API key'],
    [{ 'x-api-key': accessToken }, 'Invalid API key'],
  ] as const) {
    const { status, body, headers: answered } = await list(headers);
    expect(status).toBe(401);
    expect(body).toEqual({ success: false, message });
    expect(answered.get('www-authenticate')).toBe('Bearer');
  }
  for (const [method, path] of [
    ['POST', '/api/jobs'],
    ['GET', '/api/jobs/x'],
    ['DELETE', '/api/jobs/x'],
    ['GET', '/api/jobs/x/logs'],
  ] as const) {
    expect(await call(method, path)).toMatchObject({
      status: 401,
      body: { message: 'Access token required' },
    });
  }
});

test('no password, token or key reaches the log', async () => {
  const { call, registerUser, logLines } = await startApi();
  const { password, accessToken, refreshToken, apiKey } = await registerUser();
  await call('GET', `/api/jobs?token=${accessToken}`, { headers: { 'x-api-key': apiKey } });
  await call('POST', '/api/auth/refresh', { body: { refreshToken } });
  await call('POST', '/api/auth/login', { body: `{"password":"${password}"` });
  await expect.poll(() => logLines.length).toBe(5);
  for (const secret of [password, accessToken, refreshToken, apiKey])
    expect(logLines.join('')).not.toContain(secret);
});
