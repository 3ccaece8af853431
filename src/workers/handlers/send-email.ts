import type { Handler } from '../handler.ts';
import type { SimulateWork } from './simulate-work.ts';

/** Simulates sending an email: about 2 s. */
export function sendEmail(work: SimulateWork): Handler {
  return {
    type: 'send-email',
    async run(_payload, { signal }) {
      await work(2_000, signal);
      return { sent: true, timestamp: new Date().toISOString() };
    },
  };
}
