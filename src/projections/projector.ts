import type { Bus } from '../bus.ts';
import type { Database } from '../database.ts';
import type { EventStore } from '../events/event-store.ts';
import type { Logger } from '../logger.ts';
import { startLoop } from '../service.ts';
import type { Service } from '../service.ts';
import { consume } from '../subscriptions/consumer.ts';
import type { Consumer } from '../subscriptions/consumer.ts';
import { leadTogether, runAsLeader } from '../subscriptions/leadership.ts';
import { createCheckpointHints } from './checkpoint-hints.ts';
import type { Projection } from './projection.ts';

export interface ProjectorOptions {
  readonly store: EventStore;
  readonly database: Database;
  readonly logger: Logger;
  readonly holder: string;
  readonly projections: readonly Projection[];
  /** Hears how far each projection is; default: nobody is told. */
  readonly bus?: Pick<Bus, 'publish'>;
}

/**
 * Keeps the read models up to date while this process holds the `projector` lease. Each projection goes at its own pace,
 * and one that stops at an event it cannot apply leaves the others alone.
 */
export function startProjector({ projections, bus, ...options }: ProjectorOptions): Service {
  const consumers = projections.map((projection): Consumer => {
    if (!bus) return projection;
    const tell = createCheckpointHints(bus, projection.name);
    return {
      ...projection,
      committed(position) {
        tell(position);
        return Promise.resolve();
      },
    };
  });
  return startLoop((signal) =>
    runAsLeader({ ...options, name: 'projector', signal }, (term) =>
      leadTogether(
        term,
        consumers.map((consumer) => (following) => consume(consumer, { ...options, signal: following })),
      ),
    ),
  );
}
