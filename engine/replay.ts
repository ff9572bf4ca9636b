/**
 * Kernel calls written down as they run (`task.capture`), to be run again over the same memory. For steps whose calls are the
 * same each time, except for the values in their inputs and a few parameters, the host's work is done only once.
 */
import type { WeightDType } from "../kernels/base/dtype.ts";
import type { Device, KernelCall } from "./device.ts";
import type { Cost, Meter } from "./meter.ts";
import type { Storage, Tensor } from "./tensor.ts";

interface Entry {
  readonly call: KernelCall;
  /** Runs it as it was captured. */
  readonly run: () => void;
  /** Format of the weight in it. */
  readonly weight: WeightDType;
  /** With the captured parameters; it is computed again when a run changes them. */
  readonly cost: Cost;
}

/** New values of parameters, by kernel and parameter. */
export type ReplayParams = Readonly<Record<string, Readonly<Record<string, number>>>>;

export class Replay implements Disposable {
  readonly #device: Device;
  readonly #meter: Meter;
  readonly #entries: Entry[] = [];
  /** The memory that the calls use, held as long as the replay. */
  readonly #storages = new Set<Storage>();

  constructor(device: Device, meter: Meter) {
    this.#device = device;
    this.#meter = meter;
  }

  add(call: KernelCall, weight: WeightDType, cost: Cost, tensors: readonly Tensor[]): void {
    const run = this.#device.prepare?.(call) ?? (() => this.#device.run(call));
    this.#entries.push({ call, run, weight, cost });
    for (const { storage } of tensors) if (!this.#storages.has(storage)) this.#storages.add(storage.retain());
  }

  /** Runs the calls again, those of the kernels named in `changed` with these values of their parameters. */
  run(changed: ReplayParams): void {
    for (const { call, run, weight, cost } of this.#entries) {
      const { kernel, dims } = call;
      const values = changed[kernel.name];
      if (values) {
        const params = { ...call.params, ...values };
        this.#meter.add(kernel.name, kernel.spec.cost(dims, params, weight));
        this.#device.run({ ...call, params });
      } else {
        this.#meter.add(kernel.name, cost);
        run();
      }
    }
  }

  dispose(): void {
    for (const storage of this.#storages) storage.release();
    this.#storages.clear();
    this.#entries.length = 0;
  }

  [Symbol.dispose](): void {
    this.dispose();
  }
}
