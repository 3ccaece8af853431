import { expect } from 'vitest';
import { anInstant, anyText, describeContract } from './contract.ts';

/** Type, approximate duration in milliseconds, payload, and what the document (or, where it is silent, we) give as result. */
const TYPES = [
  ['send-email', 2_000, { to: 'recipient@example.com' }, { sent: true, timestamp: anInstant }],
  [
    'generate-report',
    5_000,
    { format: 'pdf', month: 'May 2026' },
    { reportUrl: expect.stringMatching(/^https:\/\/example\.com\/reports\/\d{13}\.pdf$/) as string },
  ],
  ['resize-image', 3_000, { url: 'https://example.com/cat.png' }, { imageUrl: anyText }],
  ['any-other-value', 1_000, {}, { processed: true, timestamp: anInstant }],
] as const;

/** How much longer a busy machine may take before the duration no longer is what the document says. */
const SLACK_MS = 10_000;

describeContract(
  'Job Types',
  (contract) => {
    contract.special.each(TYPES)('%s: ~%i ms', async (type, duration, payload, result) => {
      const user = await contract.newUser();
      const { id } = await contract.submit(user, { type, payload });
      const job = await contract.jobIn('DONE', user, id);
      expect(job).toMatchObject({ type, status: 'DONE', payload, result });
      const lines = await contract.entries<{ createdAt: string }>(user, `/jobs/${id}/logs`, 4);
      const times = lines.map(({ createdAt }) => Date.parse(createdAt));
      const took = times.at(-1)! - times[0]!;
      // A timer may end a moment early.
      expect(took).toBeGreaterThanOrEqual(duration - 50);
      expect(took).toBeLessThan(duration + SLACK_MS);
    });
  },
  { HANDLER_TIME_SCALE: '' },
  { sideBySide: true },
);
