import { PASSWORD as password } from '../../support/accounts.ts';
import { describeRefusals, longEmail } from './hostile.ts';

describeRefusals('accounts', (target) => {
  const { authenticate, refused } = target;
  const credentials = { email: 'someone@example.com', password };
  refused(400, [
    ['no fields', () => authenticate('register', {}), ['email', 'password']],
    ['an address without @', () => authenticate('register', { ...credentials, email: 'someone' }), ['email']],
    [
      'an address of 255 characters',
      () => authenticate('register', { ...credentials, email: longEmail(255) }),
      ['email'],
    ],
    [
      'a line break in an address',
      () => authenticate('register', { ...credentials, email: 'a\r\nBcc: b@example.com' }),
      ['email'],
    ],
    [
      'NUL in an address',
      () => authenticate('register', { ...credentials, email: 'a\0@example.com' }),
      ['email'],
    ],
    [
      'a list of addresses',
      () => authenticate('register', { ...credentials, email: [target.account.email] }),
      ['email'],
    ],
    [
      'an operator for an address',
      () => authenticate('register', { ...credentials, email: { $ne: null } }),
      ['email'],
    ],
    [
      'a password of 7 characters',
      () => authenticate('register', { ...credentials, password: '7777777' }),
      ['password'],
    ],
    [
      'a password of 73 bytes',
      () => authenticate('register', { ...credentials, password: 'x'.repeat(73) }),
      ['password'],
    ],
    [
      'a password of 76 bytes in 38 characters',
      () => authenticate('register', { ...credentials, password: '😀'.repeat(19) }),
      ['password'],
    ],
    [
      'NUL in a password',
      () => authenticate('register', { ...credentials, password: 'password\0x' }),
      ['password'],
    ],
    ['null for a password', () => authenticate('register', { ...credentials, password: null }), ['password']],
    [
      'an address that is taken, in capitals',
      () => authenticate('register', { email: target.account.email.toUpperCase(), password }),
      'Email already registered',
    ],
    ['an object for a token', () => authenticate('refresh', { refreshToken: {} }), ['refreshToken']],
    ['a list of tokens', () => authenticate('logout', { refreshToken: ['x'] }), ['refreshToken']],
  ]);
  refused(401, [
    [
      'NUL in the address to log in with',
      () => authenticate('login', { email: `${target.account.email}\0`, password }),
      'Invalid email or password',
    ],
    [
      'half a megabyte of an address',
      () => authenticate('login', { email: 'x'.repeat(500_000), password }),
      'Invalid email or password',
    ],
    [
      'half a megabyte of a password',
      () => authenticate('login', { email: target.account.email, password: 'x'.repeat(500_000) }),
      'Invalid email or password',
    ],
    [
      'a password with something behind it',
      () => authenticate('login', { email: target.account.email, password: `${password}\0x` }),
      'Invalid email or password',
    ],
    [
      'an address like SQL',
      () => authenticate('login', { email: "' OR 1=1 --", password }),
      'Invalid email or password',
    ],
    [
      'a refresh token like SQL',
      () => authenticate('refresh', { refreshToken: "' OR 1=1 --" }),
      'Invalid refresh token',
    ],
    [
      'half a megabyte of a refresh token',
      () => authenticate('refresh', { refreshToken: 'x'.repeat(500_000) }),
      'Invalid refresh token',
    ],
  ]);
});
