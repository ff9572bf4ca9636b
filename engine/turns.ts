/**
 * Long work gives the event loop its turn, so that timers, signals and messages are not kept waiting: at most once in TURN_MS, since
 * a turn costs some 70 µs, 1 % of a token of a small model.
 */

/** Timers, signals and messages wait at most this long and one step more. */
export const TURN_MS = 16;

/** Work that yields where it can be interrupted: every few thousand steps of a loop. */
export type Steps<T> = Generator<unknown, T>;

/** Steps of a loop between two yields. */
export const STEPS = 4096;

export class Turns {
  readonly #onTurn: () => void;
  /** When the event loop last had its turn; the first comes at once. */
  #last = -Infinity;

  /** `onTurn` is called before each turn; what it throws ends the work. */
  constructor(onTurn: () => void = () => undefined) {
    this.#onTurn = onTurn;
  }

  /** To be awaited between two steps: gives the event loop its turn when it is due. */
  rest(): Promise<void> | void {
    if (performance.now() - this.#last < TURN_MS) return;
    this.#onTurn();
    return eventLoopTurn().then(() => void (this.#last = performance.now()));
  }

  async run<T>(work: Steps<T>): Promise<T> {
    for (;;) {
      const step = work.next();
      if (step.done === true) return step.value;
      const turn = this.rest();
      if (turn) await turn; // most have none, and an await takes longer than a step
    }
  }
}

/** All of the work without a turn. */
export function atOnce<T>(work: Steps<T>): T {
  for (;;) {
    const step = work.next();
    if (step.done === true) return step.value;
  }
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
