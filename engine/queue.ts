/**
 * Tasks share a device by taking turns: a queue for each device runs one unit of work at a time (a token, an optimiser step), in
 * the order in which they were asked for. After each unit the event loop gets a turn, for a unit on the CPU blocks it.
 */
import type { Device } from "./device.ts";

class Queue {
  #last: Promise<unknown> = Promise.resolve();

  /** Runs `unit` after those before it, whether they succeed or fail. A unit that waits for another one waits for ever. */
  run<T>(unit: () => Promise<T>): Promise<T> {
    const result = this.#last.then(unit);
    this.#last = result.then(breathe, breathe);
    return result;
  }
}

const queues = new WeakMap<Device, Queue>();

export function queueOf(device: Device): Queue {
  let queue = queues.get(device);
  if (!queue) {
    queue = new Queue();
    queues.set(device, queue);
  }
  return queue;
}

/** Lets timers, signals and messages have their turn. */
function breathe(): Promise<void> {
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
