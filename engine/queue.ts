/**
 * Tasks share a device by taking turns: a queue for each device runs one unit of work at a time (a token, an optimiser step), in
 * the order in which they were asked for. A unit on the CPU blocks the event loop, which gets its turn between units, at most
 * once in TURN_MS: a turn costs some 70 µs, 1 % of a token of a small model.
 */
import type { Device } from "./device.ts";

/** Timers, signals and messages wait at most this long and one unit more. */
export const TURN_MS = 16;

class Queue {
  /** When the event loop last had its turn. */
  #turn = -Infinity;
  #last: Promise<unknown> = Promise.resolve();

  /** Runs `unit` after those before it, whether they succeed or fail. A unit that waits for another one waits for ever. */
  run<T>(unit: () => Promise<T>): Promise<T> {
    const result = this.#last.then(unit);
    const rest = (): Promise<void> | void => this.#rest();
    this.#last = result.then(rest, rest);
    return result;
  }

  /** Called after each unit: gives the event loop its turn when it is due. */
  #rest(): Promise<void> | void {
    if (performance.now() - this.#turn < TURN_MS) return;
    return eventLoopTurn().then(() => void (this.#turn = performance.now()));
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

/** Resolves after timers, signals and messages have had their turn. */
export function eventLoopTurn(): Promise<void> {
  return new Promise((resume) => {
    if (typeof setImmediate === "function") setImmediate(resume);
    else {
      const { port1, port2 } = new MessageChannel(); // browsers make timers wait for 4 ms
      port1.addEventListener("message", () => {
        port1.close();
        resume();
      });
      port1.start();
      port2.postMessage(null);
    }
  });
}
