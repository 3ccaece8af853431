import { Argument } from 'commander';
import { createRequire } from 'node:module';
import { openMaintenance } from '../composition/open-maintenance.ts';
import { loadConfig } from '../config.ts';
import { createLogger } from '../logger.ts';
import { maintain } from '../projections/maintenance.ts';
import type { Maintenance, MaintenanceProgress } from '../projections/maintenance.ts';
import type { Projection } from '../projections/projection.ts';
import { projections } from '../projections/registry.ts';
import type { Cli } from './action.ts';
import { createProgress } from './progress.ts';
import type { Progress } from './progress.ts';

const { version: release } = createRequire(import.meta.url)('../../package.json') as { version: string };

const ALL = 'all';

/** Names one read model, or all of them. */
export function projectionArgument(name: '<name>' | '[name]'): Argument {
  return new Argument(name, `a read model, or '${ALL}'`).choices([...projections.map((p) => p.name), ALL]);
}

/** The read models that an argument names; none names all. */
export function named(name: unknown): readonly Projection[] {
  return name === undefined || name === ALL ? projections : projections.filter((p) => p.name === name);
}

/** Maintains read models of the configured deployment, and shows how far that is. */
export async function maintaining<T>(
  cli: Cli,
  work: (m: Maintenance) => Promise<T>,
  options: { readonly batchSize?: number } = {},
): Promise<T> {
  const logger = createLogger('warn', 'stderr');
  const progress = createProgress();
  const opened = await openMaintenance(loadConfig(), logger);
  try {
    return await maintain(
      {
        ...opened,
        ...options,
        release,
        signal: cli.signal,
        onProgress: (told) => show(progress, told),
      },
      work,
    );
  } finally {
    progress.end();
    await opened.close();
  }
}

const DOING = { index: 'Indexing', compare: 'Comparing', swap: 'Swapping' } as const;

function show(progress: Progress, told: MaintenanceProgress): void {
  if (told.phase === 'fill') {
    progress.update(`Filling ${told.projection ?? 'all'}`, told.events, told.fraction);
  } else {
    progress.step(`${DOING[told.phase]} ${told.projection}`);
  }
}
