/** The threads of the `cpu` device. The main thread is one of them; the others run worker.js. */
import { at } from "../../../kernels/base/at.ts";
import { DeviceError, DeviceLostError } from "../../errors.ts";
import type { Thread } from "../host/workers.js";
import type { Kernels } from "./build.ts";
import { Control, GLANCES, MAX_UNITS, OPEN, type WasmFunction, instantiate, word } from "./control.js";
import type { WorkerData } from "./worker.js";

/**
 * Polling time before a thread sleeps. Commands of a decoding step follow each other within some 10 µs, waking a
 * sleeper takes 50 µs or so (README.md); longer polling would only heat an idle machine.
 */
const SPIN_MS = 0.1;
/** After so long a wait for the workers in a command the main thread checks whether they still run. */
const CHECK_MS = 100;
const WORKER = new URL("./worker.js", import.meta.url);

export class Pool {
  readonly threads: number;
  /** Device.share. */
  readonly share: Int32Array;
  /** How many commands were shared with workers. */
  shared = 0;
  readonly #control: Control;
  readonly #functions: readonly WasmFunction[];
  readonly #workers: readonly Thread[];
  #closed = false;
  /** Why these threads cannot be used any more. */
  #lost: string | undefined;

  private constructor(control: Control, functions: readonly WasmFunction[], workers: readonly Thread[]) {
    this.#control = control;
    this.#functions = functions;
    this.#workers = workers;
    this.threads = workers.length + 1;
    this.share = control.words.subarray(word.most, word.most + 1);
    this.share[0] = this.threads;
    workers.forEach((worker, i) => void worker.ended.then(() => this.#lose(i)));
  }

  /** Resolves when every thread is ready to work. `script` is what a worker runs. */
  static async start({ build, module, memory }: Kernels, threads: number, script = WORKER): Promise<Pool> {
    const wide = build === "wide";
    const control = new Control();
    const functions = instantiate(module, memory, wide);
    const workers: Thread[] = [];
    try {
      if (threads > 1) {
        const { Thread } = await import("../host/workers.js");
        for (let thread = 1; thread < threads; thread++) {
          const shared = { module, memory, wide, control: control.memory };
          const data: WorkerData = { ...shared, thread, spinMs: SPIN_MS };
          workers.push(new Thread(script, data, `templora cpu ${thread}`));
        }
      }
      await Promise.all(workers.map(({ ready }) => ready));
    } catch (error) {
      await Promise.all(workers.map((worker) => worker.terminate()));
      throw new DeviceError("cpu: a worker thread did not start", { cause: error });
    }
    for (const worker of workers) worker.unref(); // an idle pool does not keep the process alive
    return new Pool(control, functions, workers);
  }

  setScratch(thread: number, address: number): void {
    this.#control.scratch[thread] = address;
  }

  /** Throws when a thread is lost, or the device is closed. */
  assertAlive(): void {
    if (this.#lost !== undefined) throw new DeviceLostError(this.#lost);
    if (this.#closed) throw new DeviceError("the cpu device is closed");
  }

  /** Computes units [0, units) of an export; returns when all are done, throws the first failure. */
  run(index: number, args: readonly number[], units: number, grain: number): void {
    if (units === 0) return;
    if (units > MAX_UNITS) throw new RangeError(`${units} units of work; at most ${MAX_UNITS}`);
    const control = this.#control;
    const others = Math.min(this.#workers.length, Atomics.load(this.share, 0) - 1);
    const helpers = Math.min(others, Math.ceil(units / grain) - 1);
    if (helpers <= 0) {
      at(this.#functions, index)(...args, 0, units, at(control.scratch, 0));
      return;
    }
    const { words } = control;
    words[word.function] = index;
    words[word.units] = units;
    words[word.grain] = grain;
    words[word.arguments] = args.length;
    control.args.set(args);
    Atomics.store(words, word.next, 0);
    this.#open(helpers);
    control.work(this.#functions, 0);
    this.#close();
    const failure = control.takeFailure();
    if (failure !== undefined) throw new Error(failure);
  }

  #open(helpers: number): void {
    const { words } = this.#control;
    this.shared++;
    Atomics.store(words, word.state, OPEN);
    Atomics.add(words, word.command, 1);
    if (Atomics.load(words, word.sleepers) > 0) Atomics.notify(words, word.command, helpers);
  }

  /** Ends the command: no further worker joins; waits for those that have. */
  #close(): void {
    const { words } = this.#control;
    let inside = Atomics.sub(words, word.state, OPEN) - OPEN;
    let until = 0;
    for (let i = 1; inside > 0; i++) {
      if (i % GLANCES === 0) {
        const now = performance.now();
        if (until === 0) until = now + SPIN_MS;
        else if (now > until && Atomics.wait(words, word.state, inside, CHECK_MS) === "timed-out")
          this.#assertComplete();
      }
      inside = Atomics.load(words, word.state);
    }
  }

  /** Throws when a worker has ended: waiting for it would never end. */
  #assertComplete(): void {
    this.#workers.forEach((worker, i) => {
      if (!worker.isAlive()) this.#lose(i);
    });
    this.assertAlive();
  }

  #lose(worker: number): void {
    if (this.#closed) return;
    this.#lost ??= `cpu: worker thread ${worker + 1} of ${this.#workers.length} has ended; close the device and open it anew`;
  }

  async close(): Promise<void> {
    this.#closed = true;
    await Promise.all(this.#workers.map((worker) => worker.terminate()));
  }
}
