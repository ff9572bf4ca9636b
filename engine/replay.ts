/**
 * Kernel calls written down as they run (`engine.capture`), to be run again over the same memory: the host's work on a step that
 * is the same each time, but for what was written into its inputs and for a few parameters, is done once.
 */
import type { KernelCall } from "./device.ts";
import type { WeightDType } from "../kernels/base/dtype.ts";
import type { Cost } from "./meter.ts";
import type { Storage } from "./tensor.ts";

interface Entry {
  readonly call: KernelCall;
  /** Format of the weight in it. */
  readonly weight: WeightDType;
  /** What runs may change is costed anew. */
  readonly cost: Cost;
}

export class Replay {
  readonly #issue: (call: KernelCall, cost: Cost) => void;
  readonly #entries: Entry[] = [];
  readonly #storages: Storage[] = [];

  constructor(issue: (call: KernelCall, cost: Cost) => void) {
    this.#issue = issue;
  }

  add(call: KernelCall, weight: WeightDType, cost: Cost): void {
    this.#entries.push({ call, weight, cost });
  }

  /** Memory that the calls use lives as long as this. */
  hold(storage: Storage): void {
    this.#storages.push(storage.retain());
  }

  /** Runs the calls again, with these values of all parameters of these names. */
  run(changed: Readonly<Record<string, number>>): void {
    for (const { call, weight, cost } of this.#entries) {
      let params: Record<string, number> | null = null;
      for (const name of call.kernel.paramNames) {
        if (changed[name] !== undefined) (params ??= { ...call.params })[name] = changed[name];
      }
      if (params) this.#issue({ ...call, params }, call.kernel.spec.cost(call.dims, params, weight));
      else this.#issue(call, cost);
    }
  }

  dispose(): void {
    for (const storage of this.#storages.splice(0)) storage.release();
  }
}
