/** The WebGPU passes that a kernel's declaration can lead to, over its cases, sizes, and the kinds of adapters. */
import type { WeightDType } from "../../kernels/base/dtype.ts";
import type { AnyKernel, PlanContext, WebGpuPass } from "../../kernels/kernel.ts";
import { type FullCase, fits, fittingFormats, listedCases } from "./conformance.ts";
import { SEED } from "./rng.ts";
import { candidates, shapeClasses, tuningKey } from "../../kernels/matmul/variants.ts";

const bound = { maxBinding: 2 ** 27 };

/** Adapters that plans tell apart: GPUs, llvmpipe (subgroups of 8), SwiftShader (of 4), and those without extras. */
export const adapters: readonly Omit<PlanContext, "weight">[] = [
  { ...bound, software: false },
  { ...bound, software: false, subgroupSize: 32 },
  { ...bound, software: true, subgroupSize: 8 },
  { ...bound, software: true, subgroupSize: 4 },
];

/** The same with each choice that tuning may make. */
const tunedAdapters = adapters.flatMap((adapter) =>
  shapeClasses.flatMap((shape) =>
    candidates(shape, adapter).map((name) => ({ ...adapter, tuned: { [tuningKey(shape)]: name } })),
  ),
);

/** The kernel with the plan of another adapter or choice. */
export function planned(kernel: AnyKernel, changes: Partial<PlanContext>): AnyKernel {
  const { spec } = kernel;
  return {
    ...kernel,
    spec: {
      ...spec,
      webgpu: (dims, params, context) => spec.webgpu(dims, params, { ...context, ...changes }),
      webgpuScratch: (dims, params, context) =>
        spec.webgpuScratch?.(dims, params, { ...context, ...changes }) ?? {},
    },
  };
}

export interface Plan {
  readonly pass: WebGpuPass;
  /** What the pass binds, by name, in order. */
  readonly names: readonly string[];
  /** The weight's storage if the pass binds it. */
  readonly weight: WeightDType | undefined;
  readonly adapter: Omit<PlanContext, "weight">;
  /** The cheapest case that leads to it. */
  readonly witness: FullCase;
}

/** What tells passes apart: their pipelines' shader, constants and layout. */
function keyOf(pass: WebGpuPass, names: readonly string[], weight: WeightDType | undefined): string {
  return JSON.stringify([pass.source, pass.overrides, names, weight]);
}

/** Each distinct pass (source, overrides, names, weight) that a kernel's cases lead to, once. */
export const plansOf = (kernel: AnyKernel): Plan[] => plansFor(kernel, listedCases(kernel, SEED));

/** Those of GPUs by default. */
export const plansOfGpu = (kernel: AnyKernel): Plan[] =>
  plansFor(kernel, listedCases(kernel, SEED), adapters.slice(0, 1));

/** Sizes at which plans change: about the edges of tiles, strips and split depths. */
const SIZES = [1, 3, 4, 5, 8, 12, 16, 32, 33, 64, 65, 96, 128, 160, 192, 224, 256, 260, 640, 700, 1500];
/** Whatever the format, a widened panel goes the same way. */
const VARIED: readonly WeightDType[] = ["f32", "q8_0"];

/** The same for sizes beside those of the cases: each size of each case is varied by itself. */
export function reachable(kernel: AnyKernel): Plan[] {
  const varied = listedCases(kernel, SEED)
    .filter(({ weight }) => weight === "f32")
    .flatMap((full) =>
      kernel.dimNames.flatMap((dim) =>
        SIZES.map((size) => ({ ...full, dims: { ...full.dims, [dim]: size } })),
      ),
    )
    .filter(({ dims, params, given }) => given === undefined && fits(kernel, dims, params))
    .flatMap((full) =>
      fittingFormats(kernel, full.dims)
        .filter((weight) => VARIED.includes(weight))
        .map((weight) => ({ ...full, weight })),
    );
  return plansFor(kernel, [...listedCases(kernel, SEED), ...varied]);
}

function plansFor(
  kernel: AnyKernel,
  cases: readonly FullCase[],
  on: readonly Plan["adapter"][] = [...adapters, ...tunedAdapters],
): Plan[] {
  const plans = new Map<string, Plan>();
  for (const witness of cases) {
    for (const adapter of on) {
      const { dims, params } = witness;
      for (const pass of kernel.spec.webgpu(dims, params, { ...adapter, weight: witness.weight })) {
        const names = pass.bindings ?? kernel.slots.map((s) => s.name);
        const weight = kernel.weightSlot && names.includes(kernel.weightSlot) ? witness.weight : undefined;
        const key = keyOf(pass, names, weight);
        const known = plans.get(key);
        if (!known || workOf(witness) < workOf(known.witness))
          plans.set(key, { pass, names, weight, adapter, witness });
      }
    }
  }
  return [...plans.values()];
}

/** The one of the least work of each kind. */
export function distinct(plans: readonly Plan[], kind: (plan: Plan) => string): Plan[] {
  const kinds = new Map<string, Plan>();
  for (const plan of plans) {
    const known = kinds.get(kind(plan));
    if (!known || workOf(plan.witness) < workOf(known.witness)) kinds.set(kind(plan), plan);
  }
  return [...kinds.values()];
}

export function workOf({ kernel, dims, params, weight }: FullCase): number {
  const { flops, bytes } = kernel.spec.cost(dims, params, weight);
  return flops + bytes;
}
