/**
 * The way to the store, which all transfers in progress share alike; none is faster than a worker's own. Each has had the same bytes
 * since it began, so the next to end is the one with the least sum of bytes had before and bytes to go: a heap, and no loop over all.
 */
import { Heap } from "./heap.ts";
import type { Timeline } from "./timeline.ts";

export interface Transfer {
  /** Bytes that each transfer will have had when this one ends. */
  readonly end: number;
  readonly done: () => void;
  isCancelled: boolean;
}

export class Link {
  readonly #time: Timeline;
  readonly #rate: number;
  readonly #mostEach: number;
  readonly #transfers = new Heap<Transfer>((a, b) => a.end < b.end);
  #count = 0;
  /** Bytes that each transfer has had, and when that was so. */
  #had = 0;
  #since = 0;
  /** Events of an earlier state mean nothing. */
  #state = 0;
  /** Bytes that were moved. */
  bytes = 0;

  /** Bytes a second, of all together and of one at most. */
  constructor(time: Timeline, rate: number, mostEach = rate) {
    this.#time = time;
    this.#rate = rate;
    this.#mostEach = mostEach;
  }

  send(bytes: number, done: () => void): Transfer {
    this.#goOn();
    const transfer = { end: this.#had + bytes, done, isCancelled: false };
    this.#transfers.push(transfer);
    this.#count++;
    this.#next();
    return transfer;
  }

  cancel(transfer: Transfer): void {
    this.#goOn();
    transfer.isCancelled = true;
    this.#count--;
    this.#next();
  }

  get #each(): number {
    return Math.min(this.#mostEach, this.#rate / this.#count);
  }

  #goOn(): void {
    const { now } = this.#time;
    if (this.#count > 0) {
      const had = this.#each * (now - this.#since);
      this.#had += had;
      this.bytes += had * this.#count;
    }
    this.#since = now;
  }

  #next(): void {
    const state = ++this.#state;
    while (this.#transfers.least?.isCancelled) this.#transfers.pop();
    const next = this.#transfers.least;
    if (!next) return;
    this.#time.after(Math.max(0, (next.end - this.#had) / this.#each), () => {
      if (state !== this.#state) return;
      this.#goOn();
      this.#transfers.pop();
      this.#count--;
      this.#next();
      next.done();
    });
  }
}
