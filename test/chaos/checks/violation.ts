/** A promise that was not kept. */
export interface Violation {
  /** The promise, in the words of the report. */
  readonly promise: string;
  /** What is wrong with which thing. */
  readonly particulars: string;
}
