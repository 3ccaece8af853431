import { Presets, SingleBar } from 'cli-progress';

/** How far a long piece of work is, shown on standard error: a bar on a terminal, a line now and then elsewhere. */
export interface Progress {
  /** @param doing such as `Copying`; another one begins a new bar @param fraction of this part, 0 to 1 */
  update(doing: string, events: number, fraction: number): void;
  /** A part of which nobody can tell how far it is. */
  step(doing: string): void;
  /** Idempotent. */
  end(): void;
}

/** Milliseconds between two changes of what is shown. */
const BAR_EVERY = 100;
const LINE_EVERY = 5_000;

interface Part {
  readonly doing: string;
  readonly began: number;
  /** How much was done when it began: what is resumed does not begin at 0. */
  readonly from: number;
  shown: number;
  bar: SingleBar | null;
}

export function createProgress(stream: NodeJS.WriteStream = process.stderr): Progress {
  let part: Part | null = null;

  function show(text: string, fraction: number, current: Part): void {
    if (!stream.isTTY) {
      stream.write(`${current.doing}: ${Math.floor(fraction * 100)} %, ${text}\n`);
      return;
    }
    current.bar ??= startBar(current.doing, stream);
    current.bar.update(fraction, { text });
  }

  function end(): void {
    part?.bar?.stop();
    part = null;
  }

  return {
    update(doing, events, fraction) {
      const now = performance.now();
      if (part?.doing !== doing) {
        end();
        part = { doing, began: now, from: fraction, shown: now, bar: null };
      }
      const done = fraction >= 1;
      if (!done && now - part.shown < (stream.isTTY ? BAR_EVERY : LINE_EVERY)) return;
      part.shown = now;
      show(describe(events, fraction, part.from, (now - part.began) / 1_000), fraction, part);
    },
    step(doing) {
      end();
      stream.write(`${doing} …\n`);
    },
    end,
  };
}

function startBar(doing: string, stream: NodeJS.WriteStream): SingleBar {
  const bar = new SingleBar(
    { format: `${doing.padEnd(10)} {bar} {percentage} %  {text}`, stream, hideCursor: true },
    Presets.shades_classic,
  );
  bar.start(1, 0, { text: '' });
  return bar;
}

function describe(events: number, fraction: number, from: number, seconds: number): string {
  const rate = seconds > 0 ? Math.round(events / seconds) : events;
  const left =
    fraction > from && fraction < 1
      ? `, ${duration((seconds * (1 - fraction)) / (fraction - from))} left`
      : '';
  return `${events} events, ${rate}/s${left}`;
}

function duration(seconds: number): string {
  const whole = Math.ceil(seconds);
  if (whole < 60) return `${whole} s`;
  if (whole < 3_600) return `${Math.floor(whole / 60)} min ${whole % 60} s`;
  return `${Math.floor(whole / 3_600)} h ${Math.floor((whole % 3_600) / 60)} min`;
}
