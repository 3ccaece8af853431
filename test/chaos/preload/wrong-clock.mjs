import { isMainThread } from 'node:worker_threads';

/** Loaded before a process, it gives it a clock that is off by CHAOS_CLOCK_OFFSET_MS: `Date` alone; timers go on as ever. */
const offset = Number(process.env.CHAOS_CLOCK_OFFSET_MS ?? 0);
const real = globalThis.Date;
const now = () => real.now() + offset;

globalThis.Date = new Proxy(real, {
  construct: (target, args, newTarget) =>
    Reflect.construct(target, args.length === 0 ? [now()] : args, newTarget === wrong() ? target : newTarget),
  apply: (target) => new target(now()).toString(),
  get: (target, key, receiver) => (key === 'now' ? now : Reflect.get(target, key, receiver)),
});

function wrong() {
  return globalThis.Date;
}

if (isMainThread) process.stderr.write(`The clock is off by ${Date.now() - real.now()} ms\n`);
