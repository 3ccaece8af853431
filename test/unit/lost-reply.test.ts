import { expect, it } from 'vitest';
import { watchReplies } from '../support/lost-reply.ts';

const PREFACE = Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n');
const [DATA, HEADERS, PING] = [0, 1, 6];

function frame(type: number, call: number, text: string): Buffer {
  const payload = Buffer.from(text);
  const header = Buffer.alloc(9);
  header.writeUIntBE(payload.length, 0, 3);
  header.writeUInt8(type, 3);
  header.writeUInt32BE(call, 5);
  return Buffer.concat([header, payload]);
}

function wanted(text: string) {
  const over = new AbortController();
  let times = 0;
  const loss = { containing: [text], signal: over.signal, lost: () => (times += 1) };
  return { loss, times: () => times, abort: () => over.abort() };
}

it('takes what comes first for the reply where one thing is asked after the other', () => {
  const { loss, times } = wanted('COMMIT');
  const watch = watchReplies();
  expect(watch.sent(Buffer.from('BEGIN'), loss)).toBe(false);
  expect(watch.answered(Buffer.from('ok'))).toBe('pass');
  expect(watch.sent(Buffer.from('COMMIT'), loss)).toBe(true);
  expect(watch.pending).toBe(loss);
  expect(watch.answered(Buffer.from('ok'))).toBe('cut');
  expect([watch.pending, times()]).toEqual([null, 1]);
});

it('waits for the reply to the very call among many on a connection of HTTP/2', () => {
  const { loss, times } = wanted('JobCreated');
  const watch = watchReplies();
  const request = Buffer.concat([
    frame(DATA, 1, 'other'),
    frame(HEADERS, 3, 'JobCreated'),
    frame(DATA, 3, 'JobCreated'),
  ]);
  expect(watch.sent(Buffer.concat([PREFACE, frame(HEADERS, 1, '')]), loss)).toBe(false);
  expect(watch.answered(frame(HEADERS, 1, 'ok'))).toBe('pass');
  // Cut anywhere: it has been asked once all of it has passed.
  expect(watch.sent(request.subarray(0, -4), loss)).toBe(false);
  expect(watch.sent(request.subarray(-4), loss)).toBe(true);
  expect(watch.answered(Buffer.concat([frame(DATA, 1, 'ok'), frame(PING, 0, '12345678')]))).toBe('drop');
  const answer = frame(HEADERS, 3, 'ok');
  expect(watch.answered(answer.subarray(0, 5))).toBe('drop');
  expect(times()).toBe(0);
  expect(watch.answered(answer.subarray(5))).toBe('cut');
  expect(times()).toBe(1);
});

it('loses nothing once nobody waits for it, and cuts what lacks something already', () => {
  const one = wanted('COMMIT');
  const plain = watchReplies();
  plain.sent(Buffer.from('COMMIT'), one.loss);
  one.abort();
  expect([plain.answered(Buffer.from('ok')), one.times()]).toEqual(['pass', 0]);

  const other = wanted('JobCreated');
  const shared = watchReplies();
  shared.sent(Buffer.concat([PREFACE, frame(DATA, 3, 'JobCreated')]), other.loss);
  expect(shared.answered(frame(DATA, 1, 'ok'))).toBe('drop');
  other.abort();
  expect([shared.answered(frame(DATA, 3, 'ok')), other.times()]).toEqual(['cut', 0]);
});
