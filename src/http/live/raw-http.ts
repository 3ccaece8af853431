import { STATUS_CODES } from 'node:http';
import type { IncomingMessage, Server } from 'node:http';
import type { Duplex } from 'node:stream';

/** Answers an upgrade request that is refused, and ends its connection. */
export function answer(socket: Duplex, status: number): void {
  const body = JSON.stringify({ success: false, message: STATUS_CODES[status] });
  socket.once('finish', () => socket.destroy());
  socket.end(
    `HTTP/1.1 ${status} ${STATUS_CODES[status]}\r\nConnection: close\r\nContent-Type: application/json\r\n` +
      `Content-Length: ${Buffer.byteLength(body)}\r\n\r\n${body}`,
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
  const offered = ['connection', 'upgrade', 'http2-settings'];
  let text = `${req.method} ${req.url} HTTP/1.1\r\n`;
  for (let i = 0; i < req.rawHeaders.length; i += 2) {
    const name = req.rawHeaders[i] ?? '';
    if (!offered.includes(name.toLowerCase())) text += `${name}: ${req.rawHeaders[i + 1]}\r\n`;
  }
  socket.unshift(Buffer.concat([Buffer.from(`${text}\r\n`, 'latin1'), head]));
  server.emit('connection', socket);
}
