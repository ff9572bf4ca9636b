/**
 * Tasks share a device by taking turns: a queue for each device runs one unit of work at a time (a token, an optimiser step), in
 * the order in which they were asked for. A unit on the CPU blocks the event loop, which gets its turn between units.
 */
import type { Device } from "./device.ts";
import { Turns } from "./turns.ts";

class Queue {
  readonly #turns = new Turns();
  #last: Promise<unknown> = Promise.resolve();

  /** Runs `unit` after those before it, whether they succeed or fail. A unit that waits for another one waits for ever. */
  run<T>(unit: () => Promise<T>): Promise<T> {
    const result = this.#last.then(unit);
    const rest = (): Promise<void> | void => this.#turns.rest();
    this.#last = result.then(rest, rest);
    return result;
  }
}

const queues = new WeakMap<Device, Queue>();

/** The queue of a device: one for all of its tasks. */
export function queueOf(device: Device): Queue {
  let queue = queues.get(device);
  if (!queue) {
    queue = new Queue();
    queues.set(device, queue);
  }
  return queue;
}
