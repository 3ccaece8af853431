import { isUtf8 } from 'node:buffer';
import type { IncomingHttpHeaders } from 'node:http';
import express from 'express';
import type { RequestHandler } from 'express';
import { AppError } from '../errors.ts';
import { withinBudget } from './body-budget.ts';

/** Bytes of a request's body. */
export const MAX_BODY_BYTES = 524_288;

export const UNSUPPORTED_MEDIA_TYPE =
  'Unsupported Media Type: send JSON as application/json, in UTF-8 and not compressed';

class UnsupportedMediaTypeError extends AppError {
  constructor() {
    super('UNSUPPORTED_MEDIA_TYPE', UNSUPPORTED_MEDIA_TYPE);
  }
}

class InvalidUtf8Error extends AppError {
  constructor() {
    super('INVALID_UTF8', 'Request body is not valid UTF-8');
  }
}

/**
 * Reads a JSON body into `req.body`; a request without a body leaves it undefined. What is sent compressed is refused unread: half a
 * megabyte needs no compression, and a small one may hide gigabytes.
 * @param most bytes of all bodies together, see {@link withinBudget}
 */
export function jsonBody(most?: number): RequestHandler {
  const json: RequestHandler = express.json({
    limit: MAX_BODY_BYTES,
    inflate: false,
    verify: (_req, _res, body, charset) => {
      // JSON is UTF-8 between systems (RFC 8259, section 8.1); in others the length says nothing of what it becomes.
      if (charset !== 'utf-8') throw new UnsupportedMediaTypeError();
      // The decoder would replace what it cannot read, and the payload would not be what was sent.
      if (!isUtf8(body)) throw new InvalidUtf8Error();
    },
  });
  const parse = withinBudget(json, MAX_BODY_BYTES, most);
  return (req, res, next) => {
    if (hasBody(req.headers) && !req.is('application/json')) throw new UnsupportedMediaTypeError();
    parse(req, res, next);
  };
}

function hasBody(headers: IncomingHttpHeaders): boolean {
  return headers['transfer-encoding'] !== undefined || Number(headers['content-length'] ?? 0) > 0;
}
