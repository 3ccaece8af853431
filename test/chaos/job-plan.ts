import type { Json } from '../../src/events/job.ts';
import type { Random } from './random.ts';
import { MOODS } from './receiver.ts';
import type { Mood } from './receiver.ts';

/** What a user will do about one job. */
export interface JobPlan {
  readonly n: number;
  /** Which of the users. */
  readonly user: number;
  readonly type: string;
  readonly payload: Readonly<Record<string, Json>>;
  readonly delayMs: number | null;
  /** How its receiver behaves; null without a webhook. */
  readonly webhook: Mood | null;
  readonly withKey: boolean;
  /** Asks for an end, so many milliseconds after the answer. */
  readonly cancel: { readonly afterMs: number; readonly force: boolean } | null;
  /** Asks for another round when it has failed or was cancelled. */
  readonly retry: boolean;
}

type Kind = (random: Random) => { type: string; payload?: Readonly<Record<string, Json>> };

/** Of each kind of handler, the quick ones more often: a run has thousands. */
const KINDS: readonly [Kind, ...Kind[]] = [
  () => ({ type: 'instant' }),
  () => ({ type: 'instant' }),
  (random) => ({ type: 'flaky', payload: { failures: Math.floor(random.between(1, 4)) } }),
  () => ({ type: 'failing' }),
  (random) => ({ type: 'slow', payload: { milliseconds: Math.round(random.between(500, 4_000)) } }),
  (random) => ({ type: 'progress', payload: { steps: Math.floor(random.between(2, 8)) } }),
  (random) => ({ type: random.pick(['send-email', 'resize-image', 'generate-report', 'of-no-handler']) }),
];

/** The jobs of a run, as many as are asked for: the same seed gives the same ones. */
export function* planJobs(random: Random, users: number): Generator<JobPlan, never> {
  for (let n = 0; ; n++) {
    const { type, payload = {} } = random.pick(KINDS)(random);
    yield {
      n,
      user: n % users,
      type,
      payload: { ...payload, n },
      delayMs: random.chance(0.1) ? Math.round(random.between(500, 5_000)) : null,
      webhook: random.chance(0.4) ? moodOf(random) : null,
      withKey: random.chance(0.7),
      cancel: random.chance(0.08)
        ? { afterMs: Math.round(random.between(0, 1_500)), force: random.chance(0.5) }
        : null,
      retry: random.chance(0.3),
    };
  }
}

function moodOf(random: Random): Mood {
  return random.chance(0.7) ? 'willing' : (random.pick(MOODS.slice(1)) ?? 'willing');
}
