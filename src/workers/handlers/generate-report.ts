import type { Handler } from '../handler.ts';
import type { SimulateWork } from './simulate-work.ts';

/** Simulates generating a PDF report: about 5 s. */
export function generateReport(work: SimulateWork): Handler {
  return {
    type: 'generate-report',
    async run(_payload, { signal }) {
      await work(5_000, signal);
      return { reportUrl: `https://example.com/reports/${Date.now()}.pdf` };
    },
  };
}
