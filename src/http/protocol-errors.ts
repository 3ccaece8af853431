import { STATUS_CODES } from 'node:http';
import type { IncomingMessage, Server, ServerResponse } from 'node:http';
import type { Duplex } from 'node:stream';

const statusOf: Readonly<Record<string, number>> = {
  HPE_HEADER_OVERFLOW: 431,
  HPE_CHUNK_EXTENSIONS_OVERFLOW: 413,
  ERR_HTTP_REQUEST_TIMEOUT: 408,
};

const bodyFor = (status: number): string =>
  JSON.stringify({ success: false, message: STATUS_CODES[status] ?? 'Bad Request' });

/** Answers in the error format what is no request at all, or none that reaches the app. */
export function answerProtocolErrors(server: Server): void {
  server.on('clientError', (error: NodeJS.ErrnoException, socket: Duplex) => {
    // An answer that is under way would be mixed up with this one; who has gone away reads none.
    const answering = (socket as { _httpMessage?: ServerResponse | null })._httpMessage;
    if (!socket.writable || error.code === 'ECONNRESET' || answering?.headersSent) {
      socket.destroy();
      return;
    }
    const status = statusOf[error.code ?? ''] ?? 400;
    const body = bodyFor(status);
    socket.end(
      `HTTP/1.1 ${status} ${STATUS_CODES[status] ?? ''}\r\nContent-Type: application/json; charset=utf-8\r\n` +
        `Content-Length: ${Buffer.byteLength(body)}\r\nConnection: close\r\n\r\n${body}`,
    );
  });
  server.on('checkExpectation', (_req: IncomingMessage, res: ServerResponse) => {
    answer(res, 417);
  });
}

/**
 * Answers a request that Node lets through though its meaning is in doubt: with no host or with two (RFC 9112, section 3.2), in
 * chunks although HTTP/1.0 has none (section 6.1), or of a version before that. @returns whether it was one
 */
export function refusedAsDoubtful(req: IncomingMessage, res: ServerResponse): boolean {
  const { headers, httpVersion, rawHeaders } = req;
  if (req.httpVersionMajor !== 1) {
    answer(res, 505);
    return true;
  }
  const hosts = rawHeaders.filter((name, index) => index % 2 === 0 && name.toLowerCase() === 'host').length;
  const old = httpVersion === '1.0';
  if (hosts <= 1 && (old ? headers['transfer-encoding'] === undefined : hosts === 1)) return false;
  answer(res, 400);
  return true;
}

function answer(res: ServerResponse, status: number): void {
  const body = bodyFor(status);
  res.writeHead(status, {
    'Content-Type': 'application/json; charset=utf-8',
    'Content-Length': Buffer.byteLength(body),
    Connection: 'close',
  });
  res.end(body);
}
