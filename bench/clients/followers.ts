import { followAll } from '../lib/live.ts';

/** What the client of many WebSockets is asked. */
export type FollowersQuestion =
  | {
      readonly ask: 'follow';
      readonly base: string;
      readonly tokens: readonly string[];
      readonly each: number;
    }
  | { readonly ask: 'report' };

/** Connections that are opened at the same time. */
const AT_ONCE = 50;

/** Milliseconds from the end of a job, as its result says, to each message that told of it. */
let latencies: number[] = [];

async function follow({ base, tokens, each }: Extract<FollowersQuestion, { ask: 'follow' }>): Promise<void> {
  const waiting = tokens.flatMap((token) => Array.from({ length: each }, () => token)).values();
  const open = async (): Promise<void> => {
    for (const token of waiting) {
      await followAll(base, token, ({ type, result }) => {
        if (type === 'job:done' && result) latencies.push(Date.now() - Date.parse(result.timestamp));
      });
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, open));
  process.send!({ following: tokens.length * each });
}

process.on('message', (question: FollowersQuestion) => {
  if (question.ask === 'follow') {
    void follow(question);
    return;
  }
  process.send!({ latencies });
  latencies = [];
});
process.once('disconnect', () => process.exit());
