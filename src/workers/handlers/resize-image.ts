import type { Handler } from '../handler.ts';
import type { SimulateWork } from './simulate-work.ts';

/** Simulates resizing an image: about 3 s. The size is the payload's `width` and `height`, 800 × 600 where they are missing. */
export function resizeImage(work: SimulateWork): Handler {
  return {
    type: 'resize-image',
    async run(payload, { signal }) {
      await work(3_000, signal);
      const width = pixels(payload.width, 800);
      const height = pixels(payload.height, 600);
      return { imageUrl: `https://example.com/images/${Date.now()}-${width}x${height}.jpg`, width, height };
    },
  };
}

function pixels(wanted: unknown, otherwise: number): number {
  return Number.isSafeInteger(wanted) && (wanted as number) > 0 ? (wanted as number) : otherwise;
}
