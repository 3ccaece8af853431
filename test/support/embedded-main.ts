import { openEmbeddedPostgres } from '../../src/infrastructure/embedded/embedded-postgres.ts';
import { createLogger } from '../../src/logger.ts';

const [dataDir, ...roles] = process.argv.slice(2);
const postgres = await openEmbeddedPostgres({
  dataDir: dataDir!,
  roles,
  logger: createLogger('silent'),
  settings: { fsync: 'off' },
});
const alive = setInterval(() => undefined, 60_000);
process.once('SIGTERM', () => {
  clearInterval(alive);
  void postgres.stop();
});
console.log(JSON.stringify({ url: postgres.url, owner: postgres.owner }));
