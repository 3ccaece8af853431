import type { Request, RequestHandler, Response } from 'express';
import { UnavailableError } from '../errors.ts';
import { contextOf } from './request-context.ts';

/** Bytes of the bodies of all requests that are being read or worked on. */
const MOST = 67_108_864;

interface Body {
  /** Who sends it: the user, or the address where there is none yet. */
  readonly sender: string;
  readonly bytes: number;
  /** Ends the request. Only while its body is being read: nothing has come of it by then. */
  readonly turnAway: (error: UnavailableError) => void;
}

/**
 * Reads bodies with `parse` as long as all of them fit into memory. Else whoever has sent most gives way: the oldest of that sender's
 * bodies that are still being read is turned away, until the rest fits. One that has been read is worked on in any case.
 * @param largest bytes of a body whose sender does not say how long it is
 * @param most default: 64 MiB
 */
export function withinBudget(parse: RequestHandler, largest: number, most = MOST): RequestHandler {
  /** In the order in which they began. */
  const held = new Set<Body>();
  const reading = new Set<Body>();
  let bytes = 0;

  function makeRoom(wanted: Body): void {
    while (bytes + wanted.bytes > most) {
      const oldest = ofGreediest([...reading, wanted], [...held, wanted]);
      const error = new UnavailableError('api', `Requests of ${bytes} bytes are under way already`);
      if (oldest === wanted) throw error;
      oldest?.turnAway(error);
    }
  }

  return (req, res, next) => {
    const settle = (error?: unknown): void => {
      if (reading.delete(body)) next(error);
    };
    const release = (): void => {
      if (held.delete(body)) bytes -= body.bytes;
    };
    const body: Body = {
      sender: senderOf(req, res),
      bytes: bytesOf(req, largest),
      turnAway(error) {
        release();
        if (!reading.delete(body)) return;
        // What else it sends is not read.
        res.set('Connection', 'close');
        // As if the client had gone: the parser lets go of what has come, and keeps nothing of what still does. The connection itself ends
        // later, when thousands more may have sent theirs.
        req.emit('aborted');
        next(error);
      },
    };
    makeRoom(body);
    held.add(body);
    reading.add(body);
    bytes += body.bytes;
    res.once('prefinish', release);
    res.once('close', () => {
      release();
      reading.delete(body);
    });
    parse(req, res, settle);
  };
}

function senderOf(req: Request, res: Response): string {
  return contextOf(res).userId ?? `address ${req.ip}`;
}

/** Of one that says it is longer than allowed nothing is read. */
function bytesOf({ headers }: Request, largest: number): number {
  const length = Number(headers['content-length'] ?? 0);
  if (headers['transfer-encoding'] !== undefined) return largest;
  return length > largest ? 0 : length;
}

/** The oldest of the candidates whose sender has most bytes held. */
function ofGreediest(candidates: readonly Body[], held: readonly Body[]): Body | undefined {
  const bytes = new Map<string, number>();
  for (const body of held) bytes.set(body.sender, (bytes.get(body.sender) ?? 0) + body.bytes);
  const most = Math.max(...candidates.map(({ sender }) => bytes.get(sender) ?? 0));
  return candidates.find(({ sender }) => bytes.get(sender) === most);
}
