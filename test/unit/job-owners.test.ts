import { expect, it } from 'vitest';
import { createJobOwners } from '../../src/http/live/job-owners.ts';
import { JOB_PREFIX } from '../../src/events/job.ts';

import { events, JOB_ID, USER } from '../support/job-spec.ts';
import { stored } from '../support/store.ts';

it('knows whose a job is from its beginning on, and asks for others once', async () => {
  const asked: string[][] = [];
  const owners = createJobOwners({
    store: {} as never,
    queries: {
      owners(ids: readonly string[]) {
        asked.push([...ids]);
        return Promise.resolve(new Map(ids.map((id) => [id, 'somebody else'])));
      },
    } as never,
  });
  const recorded = (jobId: string, event = events.started(1)) => ({
    ...stored(event),
    stream: JOB_PREFIX + jobId,
    revision: 0,
  });
  await owners.prepare([recorded(JOB_ID, events.created()), recorded(JOB_ID)]);
  expect(await owners.of(JOB_ID)).toBe(USER);
  expect(asked).toEqual([]);
  await owners.prepare([recorded('other'), recorded('other'), recorded(JOB_ID)]);
  expect(await owners.of('other')).toBe('somebody else');
  expect(asked).toEqual([['other']]);
});
