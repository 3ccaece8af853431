import { afterAll, beforeAll, describe } from 'vitest';
import { describeAppend } from './describe-append.ts';
import { describeFaults } from './describe-faults.ts';
import { describeOwnership } from './describe-ownership.ts';
import { describeRead } from './describe-read.ts';
import { describeSubscribe } from './describe-subscribe.ts';
import type { StoreUnderTest } from './harness.ts';

/** What every adapter of the event store port has to hold. @param setup called once for each group of cases */
export function describeEventStore(name: string, setup: () => Promise<StoreUnderTest>): void {
  const groups = {
    append: describeAppend,
    read: describeRead,
    subscribe: describeSubscribe,
    ownership: describeOwnership,
    faults: describeFaults,
  };
  describe(`event store on ${name}`, () => {
    for (const [group, describeGroup] of Object.entries(groups)) {
      describe(group, () => {
        let subject: StoreUnderTest;
        beforeAll(async () => {
          subject = await setup();
        });
        afterAll(() => subject.dispose());
        describeGroup(() => subject);
      });
    }
  });
}
