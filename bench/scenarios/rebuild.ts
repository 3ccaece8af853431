import { historyOf } from '../lib/histories.ts';
import { rebuildAll } from '../lib/rebuilding.ts';
import { ratio } from '../lib/scenario.ts';
import type { Measured, Scale, Scenario } from '../lib/scenario.ts';
import { upsertInBulk } from '../peers/bulk-upsert.ts';

const eventsOf = ({ quick }: Scale): number => (quick ? 10_000 : 100_000);

/** The command, while no service runs. */
const rebuilding: Measured = {
  name: 'asyncly',
  async measure(environment, scale) {
    const history = await historyOf(environment, eventsOf(scale));
    const database = await environment.createDatabase(history);
    try {
      const servers = environment.serverSeconds();
      const { events, eventsPerSecond, seconds } = await rebuildAll(
        database.url,
        await environment.createDirectory(),
      );
      const serverSeconds = environment.serverSeconds() - servers;
      return {
        perSecond: eventsPerSecond,
        seconds,
        serverCpuMsPer1000: (serverSeconds / events) * 1_000_000,
      };
    } finally {
      await database.drop();
    }
  },
};

const upserting: Measured = {
  name: 'bare bulk upsert',
  async measure(environment, scale) {
    const database = await environment.createDatabase();
    try {
      return { perSecond: await upsertInBulk(database.url, eventsOf(scale)) };
    } finally {
      await database.drop();
    }
  },
};

export const rebuildScenario: Scenario = {
  name: 'rebuild',
  title:
    'Every read model made anew from 100,000 events: events filled in a second, seconds with indexes, comparison and swap',
  measured: [rebuilding, upserting],
  targets: [
    { text: 'events a second', value: (of) => of('asyncly', 'perSecond'), atLeast: 20_000 },
    ratio('asyncly', 'bare bulk upsert'),
  ],
};
