import { expect, test } from 'vitest';
import { boundUnreadMessages } from '../../src/http/live/unread-messages.ts';
import type { UnreadMessages } from '../../src/http/live/unread-messages.ts';

/** A client that takes nothing unless it is told to. */
class SlowReader {
  unread = 0;
  isCutOff = false;
  readonly #messages: UnreadMessages;

  constructor(messages: UnreadMessages) {
    this.#messages = messages;
  }

  send(bytes: number): void {
    this.unread += bytes;
    this.#messages.sent(this, bytes);
  }

  cutOff(): void {
    this.isCutOff = true;
    this.unread = 0;
  }
}

test('who is furthest behind is cut off, until what waits for the others fits', () => {
  const messages = boundUnreadMessages(1_000_000);
  const readers = [300_000, 100_000, 350_000, 200_000].map((bytes) => {
    const reader = new SlowReader(messages);
    reader.send(bytes);
    return reader;
  });
  expect(readers.map(({ isCutOff }) => isCutOff)).toEqual([false, false, false, false]);
  readers[3]!.send(60_000);
  expect(readers.map(({ isCutOff }) => isCutOff)).toEqual([false, false, true, false]);
});

test('many who are each little behind count as well', () => {
  const messages = boundUnreadMessages(1_000_000);
  const readers = Array.from({ length: 300 }, () => new SlowReader(messages));
  for (let round = 0; round < 100; round++)
    for (const reader of readers) if (!reader.isCutOff) reader.send(500);
  const waiting = readers.reduce((total, { unread }) => total + unread, 0);
  // Within what may be sent between two looks, and what is not looked at.
  expect(waiting).toBeLessThan(1_100_000);
  expect(readers.filter(({ isCutOff }) => !isCutOff).length).toBeGreaterThan(10);
});

test('who has caught up or left is nobody to wait for', () => {
  const messages = boundUnreadMessages(1_000_000);
  const [caughtUp, left, other] = [
    new SlowReader(messages),
    new SlowReader(messages),
    new SlowReader(messages),
  ];
  caughtUp.send(900_000);
  caughtUp.unread = 0;
  left.send(900_000);
  messages.left(left);
  other.send(900_000);
  expect([caughtUp, left, other].map(({ isCutOff }) => isCutOff)).toEqual([false, false, false]);
});
