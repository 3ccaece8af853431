import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Bus } from '../../../src/bus.ts';
import { eventually } from '../../support/waiting.ts';

/** A bus under test. */
export interface BusUnderTest {
  /** Another client of the same bus, as another process would have it. */
  readonly connect: () => Bus;
  /** Cuts every connection that the clients have open. */
  readonly disconnect: () => Promise<void>;
  dispose(): Promise<void>;
}

/** What every adapter of the bus has to hold. Messages may be lost, so whatever is to be heard is sent until it is. */
export function describeBus(name: string, setup: () => Promise<BusUnderTest>): void {
  describe(`bus on ${name}`, () => {
    let subject: BusUnderTest;
    beforeAll(async () => {
      subject = await setup();
    });
    afterAll(() => subject.dispose());

    /** The session ids that a client hears of. */
    function hearing(bus: Bus) {
      const ids: string[] = [];
      const leave = bus.subscribe('session-ended', ({ sessionId }) => ids.push(sessionId));
      return { ids, leave };
    }

    /** Publishes new ids until one is heard. */
    async function untilHeard(from: Bus, ids: readonly string[]): Promise<void> {
      await eventually(() => {
        const sessionId = randomUUID();
        from.publish('session-ended', { sessionId });
        return ids.length > 0;
      });
    }

    it('tells subscribers in the same process, though never within the call', async () => {
      const bus = subject.connect();
      const { ids } = hearing(bus);
      const sessionId = randomUUID();
      bus.publish('session-ended', { sessionId });
      expect(ids).toEqual([]);
      await eventually(() => ids.length > 0);
      expect(ids).toEqual([sessionId]);
    });

    it('tells other processes, in order and once, and nothing of other channels', async () => {
      const [here, there] = [subject.connect(), subject.connect()];
      const { ids } = hearing(there);
      const positions: string[] = [];
      there.subscribe('checkpoint', ({ position }) => positions.push(position));
      await untilHeard(here, ids);
      const sent = Array.from({ length: 50 }, (_, n) => String(n));
      for (const position of sent) here.publish('checkpoint', { projection: 'jobs', position });
      await eventually(() => positions.length >= sent.length);
      expect(positions).toEqual(sent);
    });

    it('does not tell a publisher twice what it published itself', async () => {
      const [here, there] = [subject.connect(), subject.connect()];
      const own = hearing(here);
      const other = hearing(there);
      await untilHeard(here, other.ids);
      await eventually(() => other.ids.at(-1) === own.ids.at(-1));
      expect(own.ids).toEqual([...new Set(own.ids)]);
    });

    it('goes on after one subscriber has thrown and another has left', async () => {
      const bus = subject.connect();
      bus.subscribe('session-ended', () => {
        throw new Error('as the test wants it');
      });
      const leaver = hearing(bus);
      leaver.leave();
      leaver.leave();
      const stayer = hearing(bus);
      bus.publish('session-ended', { sessionId: randomUUID() });
      await eventually(() => stayer.ids.length > 0);
      expect(leaver.ids).toEqual([]);
    });

    it('drops a message that is too large without a word to the publisher', async () => {
      const [here, there] = [subject.connect(), subject.connect()];
      const names: string[] = [];
      there.subscribe('checkpoint', ({ projection }) => names.push(projection));
      here.publish('checkpoint', { projection: 'x'.repeat(100_000), position: '1' });
      await eventually(() => {
        here.publish('checkpoint', { projection: 'small', position: '1' });
        return names.length > 0;
      });
      expect(names).not.toContain('x'.repeat(100_000));
    });

    it('hears again after its connections were cut, and itself meanwhile', async () => {
      const [here, there] = [subject.connect(), subject.connect()];
      const own = hearing(here);
      const other = hearing(there);
      await untilHeard(here, other.ids);
      await subject.disconnect();
      const sessionId = randomUUID();
      here.publish('session-ended', { sessionId });
      await eventually(() => own.ids.includes(sessionId));
      other.ids.length = 0;
      await untilHeard(here, other.ids);
    });

    it('is silent after it was closed, however often', async () => {
      const [here, there] = [subject.connect(), subject.connect()];
      const { ids } = hearing(there);
      await untilHeard(here, ids);
      await there.close();
      await there.close();
      const heard = ids.length;
      const witness = hearing(subject.connect());
      await untilHeard(here, witness.ids);
      there.publish('session-ended', { sessionId: randomUUID() });
      expect(ids).toHaveLength(heard);
    });
  });
}
