import type { Environment } from './environment.ts';

/** Figures by name, e.g. `{ perSecond: 1200, p99: 40 }`. */
export type Figures = Readonly<Record<string, number>>;

export interface Measured {
  readonly name: string;
  measure(environment: Environment, scale: Scale): Promise<Figures>;
}

/** How much is done: `quick` is for seeing that everything works, and its figures mean little. */
export interface Scale {
  readonly quick: boolean;
}

/** What is promised of the medians. Without a bound it is only told. */
export interface Target {
  readonly text: string;
  readonly value: (medians: Medians) => number;
  readonly atLeast?: number;
  readonly atMost?: number;
}

/** @throws RangeError when there is no such figure */
export type Medians = (name: string, figure: string) => number;

/** One table: the same work done by several, in turn. */
export interface Scenario {
  readonly name: string;
  /** What is done and what the figures are. */
  readonly title: string;
  readonly measured: readonly Measured[];
  readonly targets: readonly Target[];
}

/** How much more or less of a figure one has than the other. */
export const ratio = (
  one: string,
  other: string,
  figure = 'perSecond',
  bounds: Pick<Target, 'atLeast' | 'atMost'> = {},
): Target => ({
  text: `${one} / ${other}${figure === 'perSecond' ? '' : `, ${figure}`}`,
  value: (of) => of(one, figure) / of(other, figure),
  ...bounds,
});
