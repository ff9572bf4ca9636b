/** How long tokens take of late beside an update, and so how long one of them may wait for it. */

/** The weight of the latest token. */
const LATEST = 1 / 16;

export class Pace {
  #last = 0;
  /** Milliseconds a token; 0 = none was seen. */
  #pace = 0;

  /** An update begins. */
  begins(now: number): void {
    this.#last = now;
  }

  /**
   * A token is about to be chosen: the most milliseconds that it waits, as much as one has taken of late. Where an update makes no
   * headway for a while, the tokens after it so wait for the rest.
   */
  patience(now: number): number {
    this.#pace += (now - this.#last - this.#pace) * (this.#pace > 0 ? LATEST : 1);
    this.#last = now;
    return this.#pace;
  }
}
