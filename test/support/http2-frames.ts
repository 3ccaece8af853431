/** How a client begins, RFC 9113, section 3.4. */
const PREFACE = Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n');
/** Section 4.1. */
const HEADER_BYTES = 9;
const DATA = 0;
const HEADERS = 1;

/** Of the calls that share a connection, the one that a piece of it belongs to. */
export interface Http2Frame {
  /** DATA or HEADERS; other frames carry nothing of a call. */
  readonly kind: 'data' | 'headers';
  readonly call: number;
  readonly payload: Buffer;
}

/** Whether the first bytes that a client sends are those of HTTP/2, as gRPC speaks it. */
export function isHttp2(first: Buffer): boolean {
  return first.subarray(0, PREFACE.length).equals(PREFACE);
}

/**
 * Reads one direction of a connection.
 * @param from the client's begins with a preface
 * @returns takes what has come, and gives the frames that are complete with it
 */
export function http2Frames(from: 'client' | 'server'): (data: Buffer) => Http2Frame[] {
  let rest = Buffer.alloc(0);
  let skipped = from === 'client' ? PREFACE.length : 0;
  return (data) => {
    rest = Buffer.concat([rest, data]);
    const [preface, frames]: [number, Http2Frame[]] = [Math.min(skipped, rest.length), []];
    skipped -= preface;
    rest = rest.subarray(preface);
    while (rest.length >= HEADER_BYTES) {
      const end = HEADER_BYTES + rest.readUIntBE(0, 3);
      if (rest.length < end) break;
      const type = rest.readUInt8(3);
      const call = rest.readUInt32BE(5) & 0x7fff_ffff;
      if (type === DATA || type === HEADERS) {
        const kind = type === DATA ? 'data' : 'headers';
        frames.push({ kind, call, payload: rest.subarray(HEADER_BYTES, end) });
      }
      rest = rest.subarray(end);
    }
    return frames;
  };
}
