import type { RequestHandler } from 'express';
import { UnavailableError } from '../errors.ts';

/**
 * Lets so many requests in at a time and turns the others away, before anything of them is kept: a flood that meets a slow part piles
 * up outside.
 * @param most requests that are being answered
 */
export function admission(most: number): RequestHandler {
  let underWay = 0;
  return (_req, res, next) => {
    if (underWay >= most) throw new UnavailableError('api', `${most} requests are under way already`);
    underWay++;
    let isUnderWay = true;
    const leave = (): void => {
      if (isUnderWay) underWay--;
      isUnderWay = false;
    };
    // Once it has been answered, however slowly the client reads: unread answers have a bound of their own.
    res.once('prefinish', leave);
    res.once('close', leave);
    next();
  };
}
