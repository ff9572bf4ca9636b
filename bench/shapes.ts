/**
 * The shapes at which kernels are measured: those of a model's decoding, prefill and update, by tracing them; products known
 * from other benchmarks; one token's product in every weight format; and for kernels that none of these calls, the costliest case of their declaration.
 */
import { type WeightDType, dtypes } from "../kernels/base/dtype.ts";
import { weightDTypes } from "../kernels/formats/index.ts";
import { resolveShape } from "../kernels/base/shape.ts";
import { kernels } from "../kernels/index.ts";
import type { AnyKernel } from "../kernels/kernel.ts";
import type { ModelFiles } from "../model/model_files.ts";
import { Llama } from "../model/llama.ts";
import type { BenchOptions } from "./suite.ts";
import { type TracedCall, TracingDevice, workOf } from "./trace.ts";
import { chunksToFill, read, someTokens, write } from "./workload.ts";

export type Phase = "decode" | "prefill" | "update";

/** A call and how often each phase makes it; {} for a case of the declaration. */
export interface Shape extends TracedCall {
  readonly counts: Readonly<Partial<Record<Phase, number>>>;
}

/** Tokens before the one decoded, and tokens of the prefill. */
const CONTEXT = 512;
/** Rates, operations and bytes a second, by which calls are weighed before anything is measured. */
const GUESS = { flops: 1e11, bytes: 2e10 };
/** Calls with a smaller share of their phase are left out, except for the costliest call of each kernel. */
const LEAST_SHARE = 0.004;

/** f32 squares, and the products of a LoRA of rank 4: M, N, K. */
const wellKnown: Readonly<Record<string, readonly (readonly [number, number, number])[]>> = {
  matmul_nt: [
    [512, 512, 512],
    [1024, 1024, 1024],
    [2048, 2048, 2048],
    [1024, 4, 576],
  ],
  matmul_nn: [
    [1024, 1024, 1024],
    [1024, 576, 4],
  ],
  matmul_tn: [
    [1024, 1024, 1024],
    [1024, 4, 576],
  ],
  matmul_nt_acc: [[1024, 576, 4]],
};

/** What a token costs in each weight format. */
const ONE_TOKEN = { M: 1, N: 2048, K: 2048 };

const guess = ({ cost }: TracedCall): number => Math.max(cost.flops / GUESS.flops, cost.bytes / GUESS.bytes);

/** The calls of each phase of a model of these shapes. */
async function trace(shapes: ModelFiles, options: BenchOptions): Promise<Record<Phase, TracedCall[]>> {
  const device = new TracingDevice();
  const model = await Llama.load(device, shapes);
  const writing = write(model, someTokens(model, options.quick ? 64 : CONTEXT), 2, options.recipe, false);
  device.take();
  await writing.steps.next();
  const prefill = device.take();
  await writing.steps.next();
  const decode = device.take();
  writing.session.dispose();
  device.take();
  const reading = read(model, 1 + chunksToFill(options), options);
  let update: TracedCall[] = [];
  for await (const { context } of reading.steps) {
    update = device.take();
    if (context === options.window) break;
  }
  reading.session.dispose();
  return { decode, prefill, update };
}

/** What to measure, by kernel in the order of kernels/index.ts, costliest first. */
export async function shapesOf(shapes: ModelFiles, options: BenchOptions): Promise<Shape[]> {
  const found = new Map<string, Shape & { counts: Partial<Record<Phase, number>>; share: number }>();
  const phases = await trace(shapes, options);
  for (const phase of ["decode", "prefill", "update"] as const) {
    const total = phases[phase].reduce((sum, call) => sum + guess(call), 0);
    for (const call of phases[phase]) {
      const key = workOf(call);
      const shape = found.get(key) ?? { ...call, counts: {}, share: 0 };
      const count = (shape.counts[phase] ?? 0) + 1;
      shape.counts[phase] = count;
      shape.share = Math.max(shape.share, (count * guess(call)) / total);
      found.set(key, shape);
    }
  }
  const traced = [...found.values()].sort((a, b) => guess(b) - guess(a));
  return Object.values<AnyKernel>(kernels).flatMap((kernel): Shape[] => {
    const [first, ...rest] = traced.filter((shape) => shape.kernel.name === kernel.name);
    if (!first) return [costliestCase(kernel)];
    if (options.quick) return [first];
    const known = (wellKnown[kernel.name] ?? []).map(([M, N, K]) => declared(kernel, { M, N, K }, "f32"));
    if (kernel.name === "matmul_nt")
      known.push(...weightDTypes.map((weight) => declared(kernel, ONE_TOKEN, weight)));
    return [...known, first, ...rest.filter(({ share }) => share >= LEAST_SHARE)];
  });
}

/** A call that no phase makes. */
function declared(
  kernel: AnyKernel,
  dims: Readonly<Record<string, number>>,
  weight: WeightDType,
  params: Readonly<Record<string, number>> = {},
): Shape {
  const all = { ...kernel.spec.defaults, ...params };
  return { kernel, dims, params: all, weight, cost: kernel.spec.cost(dims, all, weight), counts: {} };
}

function costliestCase(kernel: AnyKernel): Shape {
  const { spec } = kernel;
  const calls = spec.cases.map(({ dims, params }) => {
    return declared(kernel, dims, storage(kernel, dims), params as Record<string, number> | undefined);
  });
  const [costliest] = calls.sort((a, b) => guess(b) - guess(a));
  if (!costliest) throw new Error(`${kernel.name} lists no case`);
  return costliest;
}

/** q4_1 where rows hold whole blocks. */
function storage(kernel: AnyKernel, dims: Readonly<Record<string, number>>): WeightDType {
  const slot = kernel.slots.find(({ name }) => name === kernel.weightSlot);
  const row = slot ? (resolveShape(kernel.name, slot, dims).at(-1) ?? 1) : 1;
  return slot && row % dtypes.q4_1.block === 0 ? "q4_1" : "f32";
}
