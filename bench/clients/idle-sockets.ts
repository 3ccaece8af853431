import { WebSocket } from 'ws';

/** What a client process is to hold open. */
export interface ClientOrder {
  readonly url: string;
  /** One for each socket. */
  readonly tokens: readonly string[];
}

export interface ClientReport {
  /** Sockets that are connected and follow their user's jobs. */
  readonly open: number;
  /** Sockets that did not come about or did not stay. */
  readonly dropped: number;
  /** The first few reasons. */
  readonly reasons: readonly string[];
  /** Heartbeats that every socket has had. */
  readonly heartbeats: number;
  /** Messages about jobs, on all sockets together. */
  readonly told: number;
}

/** Handshakes under way at the same time, of this process. */
const AT_ONCE = 50;
const REPORT_EVERY_MS = 200;

process.once('message', (order: ClientOrder) => {
  /** Of each open socket. */
  const heartbeats = new Map<WebSocket, number>();
  const reasons: string[] = [];
  let dropped = 0;
  let told = 0;
  let stopping = false;

  function open(token: string): Promise<void> {
    const socket = new WebSocket(order.url, {
      headers: { authorization: `Bearer ${token}` },
      perMessageDeflate: false,
    });
    return new Promise((resolve) => {
      let failure = '';
      socket.on('error', (error) => (failure = error.message));
      socket.once('close', (code, reason: Buffer) => {
        heartbeats.delete(socket);
        if (!stopping) {
          dropped++;
          if (reasons.length < 5) reasons.push(failure || `${code} ${reason.toString()}`);
        }
        resolve();
      });
      socket.on('ping', () => heartbeats.set(socket, heartbeats.get(socket)! + 1));
      socket.on('message', (data: Buffer) => {
        const { type } = JSON.parse(data.toString()) as { type: string };
        if (type === 'connected') socket.send('{"type":"subscribe","scope":"all"}');
        else if (type === 'subscribed') {
          heartbeats.set(socket, 0);
          resolve();
        } else told++;
      });
    });
  }

  async function openInTurn(tokens: Iterator<string>): Promise<void> {
    for (let next = tokens.next(); !next.done; next = tokens.next()) await open(next.value);
  }
  const tokens = order.tokens.values();
  void Promise.all(Array.from({ length: AT_ONCE }, () => openInTurn(tokens)));

  const reporting = setInterval(() => {
    const counts = [...heartbeats.values()];
    const fewest = counts.reduce((least, count) => Math.min(least, count), Number.POSITIVE_INFINITY);
    const report: ClientReport = {
      open: heartbeats.size,
      dropped,
      reasons,
      heartbeats: counts.length === 0 ? 0 : fewest,
      told,
    };
    process.send?.(report);
  }, REPORT_EVERY_MS);

  process.once('disconnect', () => {
    stopping = true;
    clearInterval(reporting);
    for (const socket of heartbeats.keys()) socket.terminate();
  });
});
