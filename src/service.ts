/** Something that runs until it is stopped. */
export interface Service {
  /** Finishes what is under way and returns when nothing runs any more. Idempotent. */
  stop(): Promise<void>;
}

/** Starts a loop that ends by its signal. */
export function startLoop(run: (signal: AbortSignal) => Promise<void>): Service {
  const stopping = new AbortController();
  const running = run(stopping.signal);
  // An unhandled rejection would take the process down before anyone has called stop.
  running.catch(() => undefined);
  return {
    async stop() {
      stopping.abort();
      await running;
    },
  };
}
