/** Simulated time, in seconds: what is to happen happens in the order of its time, and at one time in the order in which it was asked for. */
import { Heap } from "./heap.ts";

interface Event {
  readonly time: number;
  readonly order: number;
  readonly happen: () => void;
}

export class Timeline {
  now = 0;
  /** How much has happened. */
  events = 0;
  #order = 0;
  #ended = false;
  readonly #events = new Heap<Event>((a, b) => a.time < b.time || (a.time === b.time && a.order < b.order));

  after(seconds: number, happen: () => void): void {
    this.#events.push({ time: this.now + seconds, order: this.#order++, happen });
  }

  /** Until nothing is left to happen, or `end`. */
  run(): void {
    for (let next = this.#events.pop(); next && !this.#ended; next = this.#events.pop()) {
      this.now = next.time;
      this.events++;
      next.happen();
    }
  }

  end(): void {
    this.#ended = true;
  }
}
