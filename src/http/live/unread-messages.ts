/** Clients with fewer bytes waiting are left alone: all of them together fit into memory. */
const NOTEWORTHY = 4_096;

/** A client's socket, as far as what waits for it to be read goes. */
export interface Reader {
  /** Bytes that it has not taken yet. */
  readonly unread: number;
  cutOff(): void;
}

/** Watches over what waits for slow clients. */
export interface UnreadMessages {
  /** Something was sent to this one. When too much waits by then, the clients for whom most waits are cut off. */
  sent(reader: Reader, bytes: number): void;
  left(reader: Reader): void;
}

/**
 * Each client may be behind by a megabyte; ten thousand of them may not.
 * @param most bytes that may wait for all clients together
 */
export function boundUnreadMessages(most: number): UnreadMessages {
  const behind = new Set<Reader>();
  /** Bytes sent to those who are behind since they were last added up. */
  let since = 0;

  function makeRoom(): void {
    let total = 0;
    const waiting: [Reader, number][] = [];
    for (const reader of behind) {
      const { unread } = reader;
      if (unread < NOTEWORTHY) behind.delete(reader);
      else waiting.push([reader, unread]);
      total += unread;
    }
    if (total <= most) return;
    waiting.sort(([, a], [, b]) => b - a);
    for (const [reader, unread] of waiting) {
      if (total <= most) return;
      behind.delete(reader);
      reader.cutOff();
      total -= unread;
    }
  }

  return {
    sent(reader, bytes) {
      if (reader.unread < NOTEWORTHY) return;
      behind.add(reader);
      since += bytes;
      // Adding up takes a while when many are behind.
      if (since < most / 64) return;
      since = 0;
      makeRoom();
    },
    left: (reader) => void behind.delete(reader),
  };
}
