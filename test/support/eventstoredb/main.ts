import { createInterface } from 'node:readline';
import { startEventStoreDouble } from './server.ts';
import type { Order } from './process.ts';

/**
 * The double in a process of its own: `node --import tsx main.ts [port]`. Prints one line of JSON, `{"url", "port"}`, and ends
 * on SIGTERM. Lines of JSON on its standard input are orders to do wrong.
 */
const double = await startEventStoreDouble({ port: Number(process.argv[2] ?? 0) });
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
