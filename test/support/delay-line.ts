import type { Socket } from 'node:net';

/**
 * Writes to a socket, later by what each call says, and always in the order of the calls.
 * @returns takes data and its delay in milliseconds
 */
export function delayLine(socket: Socket): (data: Buffer, milliseconds: number) => void {
  const waiting: { readonly data: Buffer; readonly due: number }[] = [];
  let timer: NodeJS.Timeout | null = null;

  function flush(): void {
    timer = null;
    const now = performance.now();
    for (let next = waiting[0]; next !== undefined; next = waiting[0]) {
      if (next.due > now) {
        timer = setTimeout(flush, next.due - now);
        return;
      }
      waiting.shift();
      if (socket.writable) socket.write(next.data);
    }
  }

  return (data, milliseconds) => {
    if (milliseconds === 0 && waiting.length === 0) {
      if (socket.writable) socket.write(data);
      return;
    }
    const before = waiting.at(-1)?.due ?? 0;
    waiting.push({ data, due: Math.max(before, performance.now() + milliseconds) });
    timer ??= setTimeout(flush, milliseconds);
  };
}
