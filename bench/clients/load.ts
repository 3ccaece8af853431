import autocannon from 'autocannon';
import type { Load, LoadReport } from '../lib/load.ts';

/** Closed-loop load: asked once for one, answers with what became of it. */
async function run({ url, method, headers, body, connections, amount }: Load): Promise<LoadReport> {
  // autocannon has every connection walk its list of requests from the start: here each path is asked for by one of them.
  const paths = 'paths' in amount ? amount.paths : null;
  let next = 0;
  const startedAt = performance.timeOrigin + performance.now();
  const result = await autocannon({
    url,
    connections,
    ...(method && { method }),
    ...('seconds' in amount && { duration: amount.seconds }),
    ...('requests' in amount && { amount: amount.requests }),
    headers: { ...headers, ...(body && { 'Content-Type': 'application/json' }) },
    ...(body && { body: JSON.stringify(body) }),
    ...(paths && {
      amount: paths.length,
      requests: [{ setupRequest: (request) => ({ ...request, path: paths[next++ % paths.length]! }) }],
    }),
  });
  const { duration, latency, non2xx, errors } = result;
  const ok = result['2xx'];
  return {
    startedAt,
    perSecond: ok / duration,
    p50: latency.p50,
    p99: latency.p99,
    ok,
    failed: non2xx + errors,
  };
}

process.once('message', (load: Load) => {
  void run(load).then((report) => process.send!(report));
});
process.once('disconnect', () => process.exit());
