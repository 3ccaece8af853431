import { createReadStream } from 'node:fs';
import { open } from 'node:fs/promises';

export interface FileLine {
  /** Without its end. */
  readonly bytes: Buffer;
  /** It ended with a line feed; else the file is over, or the line is longer than {@link MOST_BYTES}. */
  readonly ended: boolean;
  /** Where it ends in the file. */
  readonly offset: number;
}

/** Events are far smaller; only the manifest of a hundred million events comes near. */
const MOST_BYTES = 64 * 1024 * 1024;
const LINE_FEED = 0x0a;

/** The lines of a file, byte for byte. Ends after a line that is not ended. */
export async function* readLines(file: string, signal: AbortSignal): AsyncGenerator<FileLine, void, void> {
  let offset = 0;
  let parts: Buffer[] = [];
  let length = 0;
  for await (const chunk of createReadStream(file, { highWaterMark: 1024 * 1024, signal })) {
    let rest = chunk as Buffer;
    for (let end = rest.indexOf(LINE_FEED); end >= 0; end = rest.indexOf(LINE_FEED)) {
      parts.push(rest.subarray(0, end));
      offset += length + end + 1;
      yield { bytes: Buffer.concat(parts), ended: true, offset };
      parts = [];
      length = 0;
      rest = rest.subarray(end + 1);
    }
    if (rest.length > 0) parts.push(rest);
    length += rest.length;
    if (length > MOST_BYTES) break;
  }
  if (length > 0) yield { bytes: Buffer.concat(parts), ended: false, offset: offset + length };
}

const STEP = 1024 * 1024;

/** The last line of a file, without its end; null when it is not ended, or longer than any of ours. */
export async function readLastLine(file: string): Promise<Buffer | null> {
  const handle = await open(file);
  try {
    const { size } = await handle.stat();
    let tail = Buffer.alloc(0);
    for (let from = size; from > 0 && tail.length <= MOST_BYTES;) {
      const length = Math.min(STEP, from);
      from -= length;
      const part = Buffer.alloc(length);
      await handle.read(part, 0, length, from);
      tail = Buffer.concat([part, tail]);
      if (tail.at(-1) !== LINE_FEED) return null;
      const before = tail.lastIndexOf(LINE_FEED, tail.length - 2);
      if (before >= 0 || from === 0) return tail.subarray(before + 1, -1);
    }
    return null;
  } finally {
    await handle.close();
  }
}
