import { submittingToQueue } from '../peers/queue-measures.ts';
import { ratio } from '../lib/scenario.ts';
import type { Scenario } from '../lib/scenario.ts';

const kinds = ['bullmq', 'bullmqOnPostgres', 'graphileWorker', 'pgBoss'] as const;

export const queueSubmitScenario: Scenario = {
  name: 'queue-submit',
  title: 'Adding to the queues alone, without HTTP: singly with 50 in flight, and 500 at once',
  measured: kinds.flatMap((kind) => [submittingToQueue(kind, false), submittingToQueue(kind, true)]),
  targets: [
    ratio('graphile-worker, in bulk', 'graphile-worker, singly'),
    ratio('pg-boss, in bulk', 'pg-boss, singly'),
  ],
};
