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

/** What is promised of the medians. */
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
