import { createInterface } from 'node:readline';
import { openJournal } from './journal.ts';
import { startEventStoreDouble } from './server.ts';
import type { Order } from './process.ts';

/**
 * The double in a process of its own: `node --import tsx main.ts [port] [file]`. Prints one line of JSON, `{"url", "port"}`, and ends
 * on SIGTERM. Lines of JSON on its standard input are orders to do wrong. With a file its log outlives it.
 */
const [port = '0', file] = process.argv.slice(2);
const double = await startEventStoreDouble({
  port: Number(port),
  ...(file !== undefined && { log: openJournal(file) }),
});
const orders = createInterface({ input: process.stdin });
orders.on('line', (line) => {
  const { appends = [], cut } = JSON.parse(line) as Order;
  double.faults.appends.push(...appends);
  if (cut) double.cutSubscriptions(cut);
});
process.once('SIGTERM', () => {
  orders.close();
  process.stdin.destroy();
  void double.stop();
});
console.log(JSON.stringify({ url: double.url, port: double.port }));
