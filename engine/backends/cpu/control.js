// @ts-check
/**
 * The block of shared memory through which the main thread hands out work, and what every thread does with it: one
 * command at a time (an export, its arguments, a number of units), a counter from which all threads claim units, and
 * the state of the command. JavaScript with its types in comments, because worker threads load it as it is: loaders of
 * TypeScript do not reach them.
 *
 * `state` holds OPEN plus the number of workers inside the command. Workers join only while it is open. Once the counter is
 * used up, the main thread closes the command and waits only for the workers that have joined: one that slept through a
 * short command costs nothing.
 */

/** @typedef {(...args: number[]) => void} WasmFunction */

/** Offsets of words; those that threads write often lie on cache lines of their own. */
export const word = {
  /** OPEN | workers inside. */
  state: 0,
  /** Next unit to hand out. */
  next: 16,
  /** Counts commands: what idle workers wait on. */
  command: 32,
  /** Workers asleep in Atomics.wait. */
  sleepers: 33,
  /** What the command is; constant while it is open. */
  function: 48,
  units: 49,
  grain: 50,
  arguments: 51,
  /** Length of the text of the first failure in this command; 0 = none. */
  failure: 52,
  /** How many threads may compute, the main one included: any thread may change it at any time. */
  most: 53,
};

export const OPEN = 0x10000;
/** Polls between two readings of the clock: a reading takes as long as some hundred polls. */
export const GLANCES = 1000;
/** `next` when nothing more is to be claimed: above any count of units, far below overflow. */
const CANCELLED = 0x60000000;
export const MAX_UNITS = 0x40000000;
export const MAX_THREADS = 256;

const WORDS = 64;
const MAX_ARGUMENTS = 64;
const MAX_TEXT = 1024;
const BYTES = 4 * WORDS + 8 * (MAX_ARGUMENTS + MAX_THREADS) + MAX_TEXT;

/** Typed windows of the block. */
export class Control {
  /** @param {SharedArrayBuffer | ArrayBuffer} memory of another thread's Control; a new block when left out */
  constructor(
    memory = typeof SharedArrayBuffer === "undefined" ? new ArrayBuffer(BYTES) : new SharedArrayBuffer(BYTES),
  ) {
    this.memory = memory;
    this.words = new Int32Array(memory, 0, WORDS);
    /** The kernel's arguments up to `begin`. */
    this.args = new Float64Array(memory, 4 * WORDS, MAX_ARGUMENTS);
    /** Address of each thread's scratch memory. */
    this.scratch = new Float64Array(memory, 4 * WORDS + 8 * MAX_ARGUMENTS, MAX_THREADS);
    this.text = new Uint8Array(memory, 4 * WORDS + 8 * (MAX_ARGUMENTS + MAX_THREADS), MAX_TEXT);
  }

  /** Whether `helpers` workers beside the main thread are as many as may compute. @param {number} helpers */
  isFull(helpers) {
    return helpers >= Atomics.load(this.words, word.most) - 1;
  }

  /**
   * Claims and computes units until there are none left; a worker that is one too many leaves. A failure is noted and ends the command.
   * @param {readonly WasmFunction[]} functions
   * @param {number} thread
   */
  work(functions, thread) {
    const { words, args } = this;
    const units = Atomics.load(words, word.units);
    const grain = Atomics.load(words, word.grain);
    const count = Atomics.load(words, word.arguments);
    const index = Atomics.load(words, word.function);
    try {
      const run = functions[index];
      const scratch = this.scratch[thread];
      if (!run || scratch === undefined) throw new RangeError(`no function ${index} for thread ${thread}`);
      const all = [...args.subarray(0, count), 0, 0, scratch];
      for (;;) {
        const begin = Atomics.add(words, word.next, grain);
        if (begin >= units) return;
        all[count] = begin;
        all[count + 1] = Math.min(begin + grain, units);
        run(...all);
        if (thread > 0 && this.isFull((Atomics.load(words, word.state) & (OPEN - 1)) - 1)) return;
      }
    } catch (error) {
      Atomics.store(words, word.next, CANCELLED);
      const message = error instanceof Error ? error.message : String(error);
      const text = new TextEncoder().encode(message || "unknown failure").subarray(0, MAX_TEXT);
      if (Atomics.compareExchange(words, word.failure, 0, text.length) === 0) this.text.set(text);
    }
  }

  /** The text of the first failure, taken away; for the main thread, after the command. */
  takeFailure() {
    const length = Atomics.exchange(this.words, word.failure, 0);
    return length === 0 ? undefined : new TextDecoder().decode(this.text.slice(0, length));
  }
}

/**
 * The functions a module exports, in the module's order: the same in every thread.
 * @param {WebAssembly.Module} module
 */
export function functionNames(module) {
  return WebAssembly.Module.exports(module)
    .filter(({ kind }) => kind === "function")
    .map(({ name }) => name);
}

/**
 * Instantiates the kernels over `memory`; they import nothing else.
 * @param {WebAssembly.Module} module
 * @param {WebAssembly.Memory} memory
 * @param {boolean} wide whether the engine pairs vectors (kernels/shared/wide.as.ts)
 */
export function instantiate(module, memory, wide) {
  const { exports } = new WebAssembly.Instance(module, { env: { memory } });
  /** @type {WebAssembly.Global} */ (exports.wide).value = wide ? 1 : 0;
  return functionNames(module).map((name) => /** @type {WasmFunction} */ (exports[name]));
}
