import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { connect } from 'node:net';
import type { Socket } from 'node:net';
import { eventually } from './waiting.ts';

/** Kinds of frames (RFC 6455, section 5.2). */
export const OPCODES = { continuation: 0, text: 1, binary: 2, close: 8, ping: 9, pong: 10 } as const;

export interface FrameOptions {
  /** Default: true. */
  readonly fin?: boolean;
  /** Clients have to mask what they send. Default: true. */
  readonly masked?: boolean;
  /** Sets the bit that says the payload is compressed. */
  readonly compressed?: boolean;
  /** The length to tell of, whatever follows. */
  readonly length?: bigint;
}

/** The bytes of one frame, however wrong it is. */
export function frame(opcode: number, payload: string | Buffer = '', options: FrameOptions = {}): Buffer {
  const { fin = true, masked = true, compressed = false } = options;
  const body = Buffer.from(payload);
  const length = options.length ?? BigInt(body.length);
  const head = [(fin ? 0x80 : 0) | (compressed ? 0x40 : 0) | opcode];
  const mask = masked ? 0x80 : 0;
  const rest = Buffer.alloc(8);
  rest.writeBigUInt64BE(length);
  if (length < 126n) head.push(mask | Number(length));
  else if (length < 65_536n) head.push(mask | 126, ...rest.subarray(6));
  else head.push(mask | 127, ...rest);
  // A mask of zeros leaves the payload as it is.
  return Buffer.concat([Buffer.from(head), Buffer.alloc(masked ? 4 : 0), body]);
}

/** A WebSocket as its bytes. */
export class RawWebSocket {
  readonly socket: Socket;
  #received = Buffer.alloc(0);
  #ended = false;

  private constructor(socket: Socket) {
    this.socket = socket;
    socket.on('data', (chunk: Buffer) => (this.#received = Buffer.concat([this.#received, chunk])));
    socket.on('error', () => undefined);
    socket.on('close', () => (this.#ended = true));
  }

  /**
   * Shakes hands and waits for the greeting.
   * @param base such as `ws://127.0.0.1:3000` @param headers lines beside those of every handshake
   */
  static async open(base: string, token: string, headers: readonly string[] = []): Promise<RawWebSocket> {
    const { host, hostname, port } = new URL(base);
    const raw = new RawWebSocket(connect(Number(port), hostname));
    await once(raw.socket, 'connect');
    const lines = [
      `GET /ws?token=${token} HTTP/1.1`,
      `Host: ${host}`,
      'Connection: Upgrade',
      'Upgrade: websocket',
      `Sec-WebSocket-Key: ${randomBytes(16).toString('base64')}`,
      'Sec-WebSocket-Version: 13',
      ...headers,
    ];
    raw.send(Buffer.from(`${lines.join('\r\n')}\r\n\r\n`));
    await eventually(() => raw.text.includes('WebSocket connected successfully'));
    return raw;
  }

  /** Everything that has come, the answer to the handshake included. */
  get text(): string {
    return this.#received.toString('latin1');
  }

  get ended(): boolean {
    return this.#ended;
  }

  send(bytes: Buffer): void {
    if (!this.#ended) this.socket.write(bytes);
  }

  /** Waits until the other side closes, and answers. @returns the code of its close frame, null when it just hung up */
  async closed(deadlineMs = 20_000): Promise<number | null> {
    const code = await eventually(() => this.#closeCode() ?? (this.#ended ? 'none' : null), deadlineMs);
    this.send(frame(OPCODES.close, Buffer.from([0x03, 0xe8])));
    await eventually(() => this.#ended, deadlineMs);
    return code === 'none' ? null : code;
  }

  /** All that is told beside it is ASCII. */
  #closeCode(): number | null {
    const at = this.#received.lastIndexOf(0x80 | OPCODES.close);
    return at >= 0 && this.#received.length >= at + 4 ? this.#received.readUInt16BE(at + 2) : null;
  }

  destroy(): void {
    this.socket.destroy();
  }
}
