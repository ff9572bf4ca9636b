/**
 * Which tile computes a matrix product fastest on this adapter: every candidate of every class of shapes, on products as
 * Temp-LoRA has them, in turns; by the GPU's timestamps where it has them, else by the wall clock.
 */
import type { AnyKernel } from "../kernels/kernel.ts";
import * as products from "../kernels/matmul/matmul.ts";
import { type ShapeClass, candidates, shapeClasses, tuningKey } from "../kernels/matmul/variants.ts";
import { type WeightDType, isWeightDType } from "../kernels/base/dtype.ts";
import { elements, resolveShape } from "../kernels/base/shape.ts";
import type { WebGpuDevice } from "../engine/backends/webgpu/backend.ts";
import { type Choices, tuningFile, writeTuning } from "../engine/backends/webgpu/tuning.ts";

type Work = readonly [keyof typeof products, M: number, N: number, K: number, weight?: WeightDType];

/** The products that are measured for each class: all layouts that occur in it. */
const work: Readonly<Record<ShapeClass, readonly Work[]>> = {
  matvec: [
    ["matmul_nt", 1, 1536, 576, "q4_1"],
    ["matmul_nt", 1, 576, 1536, "q8_0"],
    ["matmul_nt", 1, 8192, 576, "f16"],
  ],
  thin: [
    ["matmul_nt", 512, 8, 576],
    ["matmul_nn", 512, 576, 8],
    ["matmul_tn", 512, 8, 576],
  ],
  few: [
    ["matmul_nt", 512, 64, 576],
    ["matmul_nt", 256, 576, 576, "q4_1"],
    ["matmul_nn", 512, 576, 64],
    ["matmul_tn", 512, 64, 1536],
  ],
  many: [
    ["matmul_nt", 768, 1024, 576, "q4_1"],
    ["matmul_nn", 768, 576, 1024, "q4_1"],
    ["matmul_nt", 768, 768, 64],
  ],
};

/** A candidate replaces the default only when its time is below this part of the default's: less is noise. */
const WORTH = 0.95;

export interface TuneOptions {
  /** Where to store the choices (default: where opening a device looks for them). */
  readonly path?: string;
  readonly classes?: readonly ShapeClass[];
  /** Samples of each candidate; the median counts. */
  readonly rounds?: number;
  /** How long one sample repeats a product, ms: a device's clock may tick in steps of 65 µs. */
  readonly sampleMs?: number;
}

/**
 * Measures, stores what differs from the defaults in the tuning file, and returns it; devices opened from then on use it.
 * `report` is called with one line for each class. Open the device with `profile: true`, for its timestamps.
 */
export async function tune(
  device: WebGpuDevice,
  report: (line: string) => void,
  options: TuneOptions = {},
): Promise<Choices> {
  const { path = tuningFile(), classes = shapeClasses, rounds = 5, sampleMs = 15 } = options;
  const chosen: Record<string, string> = {};
  const { software, facts } = device.info;
  const subgroupSize = Number(facts["subgroupSize"]);
  try {
    for (const shape of classes) {
      const names = candidates(shape, { software, subgroupSize });
      const [first = ""] = names;
      const scores =
        names.length > 1 ? await compare(device, shape, names, rounds, sampleMs) : new Map<string, number>();
      const score = (name: string): number => scores.get(name) ?? Infinity;
      const best = names.reduce((a, b) => (score(b) < score(a) ? b : a));
      const name = score(best) < WORTH ? best : first;
      if (name !== first) chosen[tuningKey(shape)] = name;
      const times = names.map((n) => `${n} ${scores.has(n) ? score(n).toFixed(2) : "refused"}`).join(", ");
      report(
        `${tuningKey(shape)}: ${name} (${names.length > 1 ? `time in the default's: ${times}` : "the only one here"})`,
      );
    }
  } finally {
    device.retune({});
  }
  await writeTuning(path, device.adapter, chosen);
  report(`stored in ${path}`);
  return chosen;
}

/** Each candidate's time as a part of the default's: the mean over the class's products. */
async function compare(
  device: WebGpuDevice,
  shape: ShapeClass,
  names: readonly string[],
  rounds: number,
  sampleMs: number,
): Promise<ReadonlyMap<string, number>> {
  const scores = new Map(names.map((name) => [name, 0]));
  for (const one of work[shape]) {
    const { run, free } = prepare(device, one);
    const samples = new Map<string, number[]>();
    let repeats = 1;
    for (let round = -1; round < rounds; round++) {
      for (const name of scores.keys()) {
        device.retune({ [tuningKey(shape)]: name });
        try {
          if (round < 0) {
            await time(device, run, 1); // compiles
            const once = await time(device, run, 4);
            repeats = Math.max(repeats, Math.min(256, Math.ceil(sampleMs / Math.max(once, 1e-3))));
            samples.set(name, []);
          } else samples.get(name)?.push(await time(device, run, repeats));
        } catch {
          scores.delete(name); // this adapter refuses it
        }
      }
    }
    free();
    const median = (name: string): number => samples.get(name)?.sort((a, b) => a - b)[rounds >> 1] ?? NaN;
    const [first = ""] = names;
    for (const [name, score] of scores)
      scores.set(name, score + median(name) / median(first) / work[shape].length);
  }
  return scores;
}

/** Milliseconds of one run among `repeats`. */
async function time(device: WebGpuDevice, run: () => void, repeats: number): Promise<number> {
  await device.profile();
  const start = performance.now();
  for (let i = 0; i < repeats; i++) run();
  const kernels = [...(await device.profile()).values()];
  const ms =
    kernels.length > 0 ? kernels.reduce((sum, kernel) => sum + kernel.ms, 0) : performance.now() - start;
  return ms / repeats;
}

/** A product of zeros: speed does not depend on the values. */
function prepare(device: WebGpuDevice, [name, M, N, K, weight = "f32"]: Work) {
  const kernel: AnyKernel = products[name];
  const dims = { M, N, K };
  const views = kernel.slots.map((slot) => {
    const length = elements(resolveShape(name, slot, dims));
    const buffer = device.allocate(slot.dtype === "weight" ? weight : slot.dtype, length, slot.name);
    const view = { buffer, offset: 0, length };
    if (isWeightDType(buffer.dtype)) device.write(view, new Uint8Array(buffer.bytes));
    return [slot.name, view] as const;
  });
  const call = { kernel, slots: Object.fromEntries(views), dims, params: kernel.spec.defaults };
  return {
    run: () => device.run(call),
    free: () => views.forEach(([, view]) => device.free(view.buffer)),
  };
}
