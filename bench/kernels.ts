/**
 * Suite `kernels`: every kernel at a model's shapes, against the limits of the device. Buffers stay the same from call to
 * call, so small ones are read from caches: a share of the copy rate can exceed 100 %.
 */
import { at } from "../kernels/base/at.ts";
import type { BufferView, Device } from "../engine/device.ts";
import { elements, resolveShape } from "../kernels/base/shape.ts";
import type { CaseRandom } from "../kernels/kernel.ts";
import { type ModelFiles, openModelFiles } from "../model/model_files.ts";
import { type Candidate, measure } from "./harness.ts";
import { limits } from "./probe.ts";
import { type Phase, type Shape, shapesOf } from "./shapes.ts";
import { smollm2Shapes, withoutWeights } from "./smollm2.ts";
import { type Bench, type Result, type Row, against, deviceFacts, limitsOf } from "./suite.ts";

/** On WebGPU a run is many calls, so that the wait at its end hardly counts: about so many operations or bytes. */
const FLOPS_PER_RUN = { software: 2e8, hardware: 2e10 };
const MAX_CALLS = 64;

export async function kernels(bench: Bench): Promise<Result> {
  const { options } = bench;
  bench.progress("tracing the model", 0);
  const all = await shapesOf(await modelShapes(options.model), options);
  const shapes = all.filter((shape) => nameOf(shape).includes(options.only));
  const device = await bench.open();
  try {
    const calls = new Calls(device);
    const candidates = shapes.map((shape) => calls.candidate(shape));
    const timings = await measure([...limits(device), ...candidates], {
      ...(options.quick ? { rounds: 5, sampleMs: 2, warmUpMs: 5 } : { rounds: 9, sampleMs: 20 }),
      onProgress: (fraction) => bench.progress("kernels", fraction),
    });
    const most = limitsOf(timings);
    const ceilings = timings.slice(0, timings.length - shapes.length);
    const rows = shapes.map((shape, i): Row => {
      const { calls } = at(candidates, i);
      const t = at(timings, ceilings.length + i);
      const each = { ...t, ms: t.ms / calls, lower: t.lower / calls, upper: t.upper / calls };
      const { kernel, dims, weight, counts } = shape;
      const facts = kernel.weightSlot === undefined ? {} : { weight };
      return { ...against(each, most), kernel: kernel.name, dims, ...facts, counts };
    });
    return {
      rows: [...ceilings.map((t) => against(t, most)), ...rows],
      facts: { ...deviceFacts(device), limits: most, sum_ms: sums(shapes, rows) },
    };
  } finally {
    await device.close();
  }
}

async function modelShapes(model: string | undefined): Promise<ModelFiles> {
  if (model === undefined) return smollm2Shapes();
  const modelFiles = await openModelFiles(model);
  await modelFiles.close();
  return withoutWeights(modelFiles);
}

/** "matmul_nt M=512 K=576 N=1536 q4_1": the kernel, its sizes, the weight's storage. */
export function nameOf({ kernel, dims, weight }: Shape): string {
  const sizes = kernel.dimNames.map((name) => `${name}=${dims[name]}`).join(" ");
  return `${kernel.name} ${sizes}${kernel.weightSlot === undefined ? "" : ` ${weight}`}`;
}

/** Sum of the milliseconds of each phase's calls, without those that were left out as too small. */
function sums(shapes: readonly Shape[], rows: readonly Row[]): Partial<Record<Phase, number>> {
  const total: Partial<Record<Phase, number>> = {};
  for (const phase of ["decode", "prefill", "update"] as const) {
    shapes.forEach(({ counts }, i) => {
      const count = counts[phase] ?? 0;
      if (count > 0) total[phase] = (total[phase] ?? 0) + count * at(rows, i).ms;
    });
  }
  return total;
}

/** Calls with their operands on a device. Operands of the same size are shared among calls. */
class Calls {
  readonly #device: Device;
  readonly #views = new Map<string, BufferView>();

  constructor(device: Device) {
    this.#device = device;
  }

  candidate(shape: Shape): Candidate & { readonly calls: number } {
    const { kernel, dims, params, weight, cost } = shape;
    const device = this.#device;
    const slots = Object.fromEntries(kernel.slots.map(({ name }) => [name, this.#view(shape, name)]));
    const call = { kernel, slots, dims, params };
    const name = nameOf({ ...shape, weight });
    const { kind, software } = device.info;
    if (kind === "cpu") return { name, calls: 1, ...cost, run: () => device.run(call) };
    const enough = FLOPS_PER_RUN[software ? "software" : "hardware"] / Math.max(cost.flops, cost.bytes);
    const calls = Math.min(MAX_CALLS, Math.max(1, Math.round(enough)));
    const run = async (): Promise<void> => {
      for (let i = 0; i < calls; i++) device.run(call);
      await device.flush();
    };
    return { name, calls, flops: cost.flops * calls, bytes: cost.bytes * calls, run };
  }

  #view({ kernel, dims, params, weight }: Shape, name: string): BufferView {
    const slot = kernel.slots.find((s) => s.name === name);
    if (!slot) throw new RangeError(`${kernel.name} has no slot ${name}`);
    const length = elements(resolveShape(kernel.name, slot, dims));
    const dtype = slot.dtype === "weight" ? weight : slot.dtype;
    const make = kernel.spec.values?.[name];
    const key = [dtype, length, slot.role, name, ...(make ? [kernel.name] : [])].join(" ");
    const known = this.#views.get(key);
    if (known) return known;
    const view = { buffer: this.#device.allocate(dtype, length, name), offset: 0, length };
    if (make) {
      const values = make(random, dims, params);
      this.#device.write(view, dtype === "f32" ? Float32Array.from(values) : Int32Array.from(values));
    } else if (dtype === "f32" && slot.role === "input") {
      this.#device.write(
        view,
        Float32Array.from({ length }, () => random.normal()),
      );
    } else {
      // Zeros in every format. What is written in place must not grow from call to call.
      this.#device.write(view, new Uint8Array(view.buffer.bytes));
    }
    this.#views.set(key, view);
    return view;
  }
}

let state = 1;
const uniform = (): number => {
  state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
  return state / 2 ** 32;
};
const random: CaseRandom = {
  normal: () => 3.46 * (uniform() - 0.5), // uniform, of variance 1: enough for timing
  below: (n) => Math.floor(n * uniform()),
};
