import { createInterface } from 'node:readline';
import { startEventStoreDouble } from './server.ts';
import type { AppendFault, Cut } from './faults.ts';

/**
 * The double in a process of its own: `node --import tsx main.ts [port]`. Prints one line of JSON, `{"url", "port"}`, and ends
 * on SIGTERM. A line `{"appends": ["lost-reply", …]}` on its standard input sets faults for the next appends,
 * `{"cut": "clean-end"}` ends the running subscriptions.
 */
interface Order {
  readonly appends?: AppendFault[];
  readonly cut?: Cut;
}

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
