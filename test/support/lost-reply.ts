import { http2Frames, isHttp2 } from './http2-frames.ts';

/** A reply that is to be lost: the next one to something that contains one of these texts. */
export interface WantedLoss {
  readonly containing: readonly string[];
  /** Aborts when nobody waits for it any more. */
  readonly signal: AbortSignal;
  readonly lost: () => void;
}

/** What passes on one connection, as far as a reply on it is to be lost. */
export interface ReplyWatch {
  /** Told what the client sends. @param wanted null when no reply is to be lost @returns whether it takes this loss upon itself */
  sent(data: Buffer, wanted: WantedLoss | null): boolean;
  /** Told what the server answers. @returns `pass` it on, `drop` it, or `cut` the connection, for that was the reply */
  answered(data: Buffer): 'pass' | 'drop' | 'cut';
  /** The loss that it has taken upon itself and that has not come about. */
  readonly pending: WantedLoss | null;
}

/**
 * A connection on which one thing is asked after the other, or HTTP/2 with many calls at once: there only what answers the very call is its
 * reply. From the request on nothing more reaches the client.
 */
export function watchReplies(): ReplyWatch {
  let pending: WantedLoss | null = null;
  let call: number | null = null;
  let dropped = false;
  let reads: { readonly sent: FrameReader; readonly answered: FrameReader } | null | undefined;
  return {
    get pending() {
      return pending;
    },
    sent(data, wanted) {
      if (reads === undefined)
        reads = isHttp2(data) ? { sent: http2Frames('client'), answered: http2Frames('server') } : null;
      const contains = (part: Buffer): boolean =>
        wanted?.containing.some((text) => part.includes(text)) ?? false;
      const frames = reads?.sent(data) ?? [];
      if (wanted === null || pending !== null) return false;
      const asked = frames.find(({ kind, payload }) => kind === 'data' && contains(payload));
      if (reads ? asked === undefined : !contains(data)) return false;
      call = asked?.call ?? null;
      pending = wanted;
      return true;
    },
    answered(data) {
      const frames = reads?.answered(data) ?? [];
      if (pending === null) return 'pass';
      if (pending.signal.aborted) {
        pending = null;
        return dropped ? 'cut' : 'pass';
      }
      if (reads && !frames.some((frame) => frame.call === call)) {
        dropped = true;
        return 'drop';
      }
      pending.lost();
      pending = null;
      return 'cut';
    },
  };
}

type FrameReader = ReturnType<typeof http2Frames>;
