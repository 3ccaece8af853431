import { once } from 'node:events';
import { connect } from 'node:net';

export interface RawAnswer {
  /** 0 when the connection was closed without an answer. */
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly text: string;
}

/** Bytes of a request, built without any client's second thoughts. */
export function rawRequest(
  method: string,
  target: string,
  headers: readonly string[] = [],
  body: string | Buffer | null = null,
): Buffer {
  const bytes = body === null ? Buffer.alloc(0) : Buffer.from(body);
  const framed = headers.some((line) => /^(content-length|transfer-encoding):/i.test(line));
  const lines = [
    `${method} ${target} HTTP/1.1`,
    'Host: localhost',
    'Connection: close',
    ...headers,
    ...(body === null || framed ? [] : [`Content-Length: ${bytes.length}`]),
  ];
  return Buffer.concat([Buffer.from(`${lines.join('\r\n')}\r\n\r\n`, 'latin1'), bytes]);
}

/** Sends bytes as they are and reads until the other side closes the connection. */
export async function sendRaw(base: string, bytes: string | Buffer): Promise<RawAnswer> {
  return parse(await exchangeRaw(base, bytes));
}

/** The same, with everything that came as it is: for bytes that may be taken for more than one request. */
export async function exchangeRaw(base: string, bytes: string | Buffer): Promise<string> {
  const { hostname, port } = new URL(base);
  const socket = connect(Number(port), hostname);
  const chunks: Buffer[] = [];
  socket.on('data', (chunk: Buffer) => chunks.push(chunk));
  // A server that answers before it has read everything may reset the connection: what it said counts.
  socket.on('error', () => undefined);
  socket.setTimeout(15_000, () => socket.destroy());
  socket.write(bytes);
  await once(socket, 'close');
  return Buffer.concat(chunks).toString();
}

function parse(answer: string): RawAnswer {
  // An interim answer, such as 100 Continue, comes before the real one.
  const final = answer.replace(/^HTTP\/1\.1 1\d\d [^\r]*\r\n(?:[^\r]+\r\n)*\r\n/, '');
  const [head = '', ...rest] = final.split('\r\n\r\n');
  const [statusLine = '', ...lines] = head.split('\r\n');
  const headers = Object.fromEntries(
    lines.map((line) => {
      const colon = line.indexOf(':');
      return [line.slice(0, colon).toLowerCase(), line.slice(colon + 1).trim()];
    }),
  );
  return {
    status: Number(/^HTTP\/1\.1 (\d{3})/.exec(statusLine)?.[1] ?? 0),
    headers,
    text: rest.join('\r\n\r\n'),
  };
}
