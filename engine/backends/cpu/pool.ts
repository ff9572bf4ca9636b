/** The threads of the `cpu` device. The main thread is one of them; the others run worker.js. */
import { Worker } from "node:worker_threads";
import { DeviceError } from "../../errors.ts";
import type { Kernels } from "./build.ts";
import { Control, GLANCES, MAX_UNITS, OPEN, type WasmFunction, instantiate, word } from "./control.js";
import type { WorkerData } from "./worker.js";

/**
 * Polling time before a thread sleeps. Commands of a decoding step follow each other within some 10 µs, waking a
 * sleeper takes 50 µs or so (README.md); longer polling would only heat an idle machine.
 */
const SPIN_MS = 0.1;

export class Pool {
  readonly threads: number;
  /** Commands in which workers were asked to take part. */
  shared = 0;
  readonly #control: Control;
  readonly #functions: readonly WasmFunction[];
  readonly #workers: readonly Worker[];

  private constructor(control: Control, functions: readonly WasmFunction[], workers: readonly Worker[]) {
    this.#control = control;
    this.#functions = functions;
    this.#workers = workers;
    this.threads = workers.length + 1;
  }

  /** Resolves when every thread is ready to work. */
  static async start({ build, module, memory }: Kernels, threads: number): Promise<Pool> {
    const wide = build === "wide";
    const control = new Control();
    const url = new URL("./worker.js", import.meta.url);
    const workers = Array.from({ length: threads - 1 }, (_, i) => {
      const shared = { module, memory, wide, control: control.memory };
      const data: WorkerData = { ...shared, thread: i + 1, spinMs: SPIN_MS };
      // Without the main thread's options: a loader given there (tsx) would only slow the start.
      return new Worker(url, { workerData: data, execArgv: [], name: `templora cpu ${i + 1}` });
    });
    const ready = workers.map(
      (worker) =>
        new Promise<void>((resolve, reject) => {
          worker.once("message", () => resolve());
          worker.once("error", reject);
        }),
    );
    try {
      await Promise.all(ready);
    } catch (error) {
      await Promise.all(workers.map((worker) => worker.terminate()));
      throw new DeviceError("a worker thread of the cpu device did not start", { cause: error });
    }
    for (const worker of workers) worker.unref(); // an idle pool does not keep the process alive
    return new Pool(control, instantiate(module, memory, wide), workers);
  }

  setScratch(thread: number, address: number): void {
    this.#control.scratch[thread] = address;
  }

  /** Computes units [0, units) of an export; returns when all are done, throws the first failure. */
  run(index: number, args: readonly number[], units: number, grain: number): void {
    if (units === 0) return;
    if (units > MAX_UNITS) throw new RangeError(`${units} units of work; at most ${MAX_UNITS}`);
    const control = this.#control;
    const helpers = Math.min(this.#workers.length, Math.ceil(units / grain) - 1);
    if (helpers === 0) {
      this.#functions[index](...args, 0, units, control.scratch[0]);
      return;
    }
    const { words } = control;
    words[word.function] = index;
    words[word.units] = units;
    words[word.grain] = grain;
    words[word.arguments] = args.length;
    for (let i = 0; i < args.length; i++) control.args[i] = args[i];
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

  /** Lets nobody else in, waits for those inside. */
  #close(): void {
    const { words } = this.#control;
    let inside = Atomics.sub(words, word.state, OPEN) - OPEN;
    let until = 0;
    for (let i = 1; inside > 0; i++) {
      if (i % GLANCES === 0) {
        const now = performance.now();
        if (until === 0) until = now + SPIN_MS;
        else if (now > until) Atomics.wait(words, word.state, inside, 100);
      }
      inside = Atomics.load(words, word.state);
    }
  }

  async close(): Promise<void> {
    await Promise.all(this.#workers.map((worker) => worker.terminate()));
  }
}
