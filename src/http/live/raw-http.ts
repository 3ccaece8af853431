import { STATUS_CODES } from 'node:http';
import type { IncomingMessage, Server, ServerResponse } from 'node:http';
import type { Duplex } from 'node:stream';
import { RETRY_AFTER, UNAVAILABLE } from '../unavailable.ts';

/** Answers an upgrade request that is refused, and ends its connection. */
export function answer(socket: Duplex, status: number): void {
  const message = status === 503 ? UNAVAILABLE : STATUS_CODES[status];
  const body = JSON.stringify({ success: false, message });
  const retry = status === 503 ? `Retry-After: ${RETRY_AFTER}\r\n` : '';
  socket.once('finish', () => socket.destroy());
  socket.end(
    `HTTP/1.1 ${status} ${STATUS_CODES[status]}\r\nConnection: close\r\nContent-Type: application/json; charset=utf-8\r\n` +
      `Content-Length: ${Buffer.byteLength(body)}\r\n${retry}\r\n${body}`,
  );
}

/**
 * A server that takes upgrades is handed every request that offers one, to HTTP/2 as well, which some clients do by
 * default and which may be ignored (RFC 9110, section 7.8): the request goes back to the server without the offer.
 */
export function serveWithoutUpgrade(
  server: Server,
  req: IncomingMessage,
  socket: Duplex,
  head: Buffer,
): void {
  // The answer to a request before this one has to be out first: what reads on would not know of it, and never take its turn.
  const answering = (socket as { _httpMessage?: ServerResponse | null })._httpMessage;
  if (answering) {
    const broken = (): unknown => socket.destroy();
    socket.once('error', broken);
    answering.once('close', () => {
      socket.off('error', broken);
      if (!socket.destroyed) serveWithoutUpgrade(server, req, socket, head);
    });
    return;
  }
  const offered = ['upgrade', 'http2-settings'];
  let text = `${req.method} ${req.url} HTTP/${req.httpVersion}\r\n`;
  for (let i = 0; i < req.rawHeaders.length; i += 2) {
    const name = req.rawHeaders[i] ?? '';
    const value = req.rawHeaders[i + 1] ?? '';
    if (name.toLowerCase() === 'connection') text += `${name}: ${without(offered, value)}\r\n`;
    else if (!offered.includes(name.toLowerCase())) text += `${name}: ${value}\r\n`;
  }
  socket.unshift(Buffer.concat([Buffer.from(`${text}\r\n`, 'latin1'), head]));
  server.emit('connection', socket);
}

/** A list of options, of which some are left out; what else it asks for stays, to close for instance. */
function without(options: readonly string[], list: string): string {
  return list
    .split(',')
    .filter((option) => !options.includes(option.trim().toLowerCase()))
    .join(',');
}
