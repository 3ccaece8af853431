/**
 * Which revisions of one job's stream a client has been sent on this connection: one unbroken range, since messages come
 * in order. What was before a break is forgotten.
 */
export class SentRevisions {
  #first = 0;
  #last = -1;

  has(revision: number): boolean {
    return revision >= this.#first && revision <= this.#last;
  }

  add(revision: number): void {
    if (this.has(revision)) return;
    if (revision !== this.#last + 1 || this.#last < this.#first) this.#first = revision;
    this.#last = revision;
  }

  /** Everything from `first` to `last` has been sent by now. */
  addRange(first: number, last: number): void {
    if (last < first) return;
    const touches = this.#last >= this.#first && this.#last >= first - 1 && this.#first <= last + 1;
    this.#first = touches ? Math.min(first, this.#first) : first;
    this.#last = touches ? Math.max(last, this.#last) : last;
  }
}
