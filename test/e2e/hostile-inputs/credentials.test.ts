import { createHmac, randomUUID } from 'node:crypto';
import { describeRefusals } from './hostile.ts';

describeRefusals('credentials', (target) => {
  const { send, refused } = target;
  const token = (header: object, key: string): string => {
    const claims = {
      sub: randomUUID(),
      typ: 'access',
      iss: 'asyncly',
      aud: 'asyncly-api',
      exp: 4_000_000_000,
    };
    const text = [header, claims]
      .map((part) => Buffer.from(JSON.stringify(part)).toString('base64url'))
      .join('.');
    return `${text}.${key === '' ? '' : createHmac('sha256', key).update(text).digest('base64url')}`;
  };
  const BAD_TOKEN = 'Access token required';
  const as = (header: string) => () => send('GET', '/api/jobs', [header]);
  refused(401, [
    ['none', () => send('GET', '/api/jobs'), 'Access token required'],
    ['a scheme without a token', as('Authorization: Bearer'), 'Access token required'],
    [
      'another scheme',
      as(`Authorization: Basic ${Buffer.from('a:b').toString('base64')}`),
      'Access token required',
    ],
    [
      'a token that is not signed',
      as(`Authorization: Bearer ${token({ alg: 'none', typ: 'JWT' }, '')}`),
      BAD_TOKEN,
    ],
    [
      'a token signed with a guess',
      as(`Authorization: Bearer ${token({ alg: 'HS256', typ: 'JWT' }, 'secret')}`),
      BAD_TOKEN,
    ],
    [
      'a token that names a key of its own',
      as(
        `Authorization: Bearer ${token({ alg: 'HS256', kid: '/dev/null', jku: 'https://evil.example' }, '\0')}`,
      ),
      BAD_TOKEN,
    ],
    ['a token of 8,000 characters', as(`Authorization: Bearer ${'x'.repeat(8_000)}`), BAD_TOKEN],
    ['a token that is no JSON', as('Authorization: Bearer a.b.c'), BAD_TOKEN],
    ['a key like SQL', as("X-API-Key: ak_' OR '1'='1"), 'Invalid API key'],
    [
      'the token in the query',
      () => send('GET', `/api/jobs?token=${'x'.repeat(20)}&access_token=x`),
      'Access token required',
    ],
  ]);
});
