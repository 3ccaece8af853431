import type { RequestHandler, Response } from 'express';
import type { Logger } from '../logger.ts';
import { contextOf } from './request-context.ts';

/** Bytes of answers that wait for their clients to read them, of all together. */
const MAX_UNREAD = 67_108_864;
/** Answers below are gone in no time, or too small to matter. */
const NOTEWORTHY = 65_536;

/**
 * Keeps clients that ask and do not read from filling the memory: when more than `most` bytes wait, whoever has most of them loses the
 * answer that waits for longest, until the rest fits.
 * @param most default: 64 MiB
 */
export function boundUnreadAnswers(logger: Logger, most = MAX_UNREAD): RequestHandler {
  /** In the order in which they were given. */
  const waiting = new Set<Response>();

  function makeRoom(): void {
    let unread = 0;
    for (const { writableLength } of waiting) unread += writableLength;
    while (unread > most) {
      const [oldest] = greediest(waiting);
      if (oldest === undefined) return;
      const { writableLength: bytes } = oldest;
      waiting.delete(oldest);
      unread -= bytes;
      logger.warn({ ...contextOf(oldest), bytes }, 'A client does not read its answer: cut off');
      oldest.destroy();
    }
  }

  return (_req, res, next) => {
    // All of the answer has been handed on; what the client has not taken yet is still here.
    res.once('prefinish', () => {
      if (res.writableLength < NOTEWORTHY) return;
      waiting.add(res);
      res.once('close', () => waiting.delete(res));
      makeRoom();
    });
    next();
  };
}

/** The answers of the user who has most bytes waiting, oldest first. */
function greediest(waiting: Iterable<Response>): Response[] {
  const ofUsers = new Map<string | null, { answers: Response[]; bytes: number }>();
  for (const res of waiting) {
    const { userId } = contextOf(res);
    const { answers, bytes } = ofUsers.get(userId) ?? { answers: [], bytes: 0 };
    ofUsers.set(userId, { answers: [...answers, res], bytes: bytes + res.writableLength });
  }
  const [most] = [...ofUsers.values()].sort((a, b) => b.bytes - a.bytes);
  return most?.answers ?? [];
}
