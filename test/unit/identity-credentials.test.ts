import { describe, expect, it } from 'vitest';
import { registrationSchema } from '../../src/identity/credentials.ts';
import { validate, ValidationError } from '../../src/http/validation.ts';

function errorsOf(input: unknown): Readonly<Record<string, readonly string[]>> {
  try {
    validate(registrationSchema, input);
  } catch (error) {
    if (error instanceof ValidationError) return error.errors;
    throw error;
  }
  return {};
}

const email = 'developer@example.com';
const password = 'securepassword123';

describe('what a new account needs', () => {
  it('takes an address and a password', () => {
    expect(validate(registrationSchema, { email, password })).toEqual({ email, password });
  });

  it('names both fields in the words of the contract', () => {
    expect(errorsOf({ email: 'developer', password: 'short' })).toEqual({
      email: ['Invalid email format'],
      password: ['Password must be at least 8 characters'],
    });
  });

  it.each([{}, undefined, null])('names what is missing from %j', (input) => {
    expect(errorsOf(input)).toEqual({ email: ['Invalid email format'], password: ['Password is required'] });
  });

  it.each([
    [['a@example.com']],
    [1],
    [{ length: 3 }],
    ['a@b'],
    ['@example.com'],
    ['a b@example.com'],
    ['a@example.com\0'],
  ])('refuses the address %j', (wrong) => {
    expect(errorsOf({ email: wrong, password })).toEqual({ email: ['Invalid email format'] });
  });

  it('refuses an address of 255 characters without reading half a megabyte of it', () => {
    const at = (length: number): string => `${'a'.repeat(length - '@example.com'.length)}@example.com`;
    expect(errorsOf({ email: at(254), password })).toEqual({});
    expect(errorsOf({ email: at(255), password })).toEqual({
      email: ['Email must be at most 254 characters'],
    });
    expect(errorsOf({ email: 'a.'.repeat(250_000), password })).toHaveProperty('email');
  });

  it('refuses a password that bcrypt would cut, counted in bytes', () => {
    const tooLong = { password: ['Password must be at most 72 bytes, without NUL characters'] };
    expect(errorsOf({ email, password: 'x'.repeat(72) })).toEqual({});
    expect(errorsOf({ email, password: 'x'.repeat(73) })).toEqual(tooLong);
    expect(errorsOf({ email, password: 'é'.repeat(36) })).toEqual({});
    expect(errorsOf({ email, password: 'é'.repeat(37) })).toEqual(tooLong);
    expect(errorsOf({ email, password: 'password\0suffix' })).toEqual(tooLong);
  });
});
