/** The WebGPU passes that a kernel's declaration can lead to, over its cases and the kinds of adapters. */
import { type WeightDType, dtypes, weightDTypes } from "../../kernels/base/dtype.ts";
import { resolveShape } from "../../kernels/base/shape.ts";
import type { AnyKernel, PlanContext, WebGpuPass } from "../../kernels/kernel.ts";
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
}

/** Each distinct pass (source, overrides, names, weight) once. */
export function plansOf(kernel: AnyKernel): Plan[] {
  const plans = new Map<string, Plan>();
  const slot = kernel.slots.find((s) => s.name === kernel.weightSlot);
  for (const { dims, params } of kernel.spec.cases) {
    const all = { ...kernel.spec.defaults, ...(params as Record<string, number> | undefined) };
    const row = slot ? (resolveShape(kernel.name, slot, dims).at(-1) ?? 1) : 1;
    const formats = slot
      ? weightDTypes.filter((dtype) => row % dtypes[dtype].block === 0)
      : (["f32"] as const);
    for (const adapter of [...adapters, ...tunedAdapters]) {
      for (const format of formats) {
        for (const pass of kernel.spec.webgpu(dims, all, { ...adapter, weight: format })) {
          const names = pass.bindings ?? kernel.slots.map((s) => s.name);
          const weight = kernel.weightSlot && names.includes(kernel.weightSlot) ? format : undefined;
          const key = JSON.stringify([pass.source, pass.overrides, names, weight]);
          if (!plans.has(key)) plans.set(key, { pass, names, weight, adapter });
        }
      }
    }
  }
  return [...plans.values()];
}
