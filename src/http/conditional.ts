import type { Request, Response } from 'express';
import type { Job } from '../events/job.ts';

/** A job's entity tag is its revision. */
export function setRevision(res: Response, { revision }: Job): void {
  res.set('ETag', tagOf(revision));
}

const tagOf = (revision: number): string => `"${revision}"`;

/** Whether the client has this state already, by its `If-None-Match` (RFC 9110, section 13.1.2). */
export function hasAlready(req: Request, { revision }: Job): boolean {
  const given = req.get('if-none-match');
  if (given === undefined) return false;
  return given.trim() === '*' || tagsIn(given).some((tag) => tag.replace(/^W\//, '') === tagOf(revision));
}

/**
 * The revisions that `If-Match` lets a command act on (RFC 9110, section 13.1.1); null when it may act on any. Tags are compared
 * strongly: a weak one, or what is no tag of ours, allows nothing.
 */
export function allowedRevisions(req: Request): number[] | null {
  const given = req.get('if-match');
  if (given === undefined || given.trim() === '*') return null;
  return tagsIn(given).flatMap((tag) => {
    const revision = /^"(0|[1-9]\d{0,8})"$/.exec(tag)?.[1];
    return revision === undefined ? [] : [Number(revision)];
  });
}

function tagsIn(header: string): string[] {
  return header.split(',').map((tag) => tag.trim());
}
