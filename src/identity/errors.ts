import { AppError } from '../errors.ts';

export class EmailTakenError extends AppError {
  constructor() {
    super('EMAIL_TAKEN', 'Email already registered');
  }
}

/** Says the same for an unknown address and a wrong password: which of them it was tells who is registered. */
export class InvalidCredentialsError extends AppError {
  constructor() {
    super('INVALID_CREDENTIALS', 'Invalid email or password');
  }
}

/** In the words of the documented contract, which has one answer for a token that is missing, wrong or expired. */
export class InvalidAccessTokenError extends AppError {
  constructor() {
    super('INVALID_ACCESS_TOKEN', 'Access token required');
  }
}

export class InvalidRefreshTokenError extends AppError {
  constructor() {
    super('INVALID_REFRESH_TOKEN', 'Invalid refresh token');
  }
}

export class InvalidApiKeyError extends AppError {
  constructor() {
    super('INVALID_API_KEY', 'Invalid API key');
  }
}
