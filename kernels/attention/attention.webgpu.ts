/** How the attention kernels run on WebGPU. */
import { type PlanContext, type WebGpuPass, grid } from "../kernel.ts";
import type { AttentionDims } from "./attention.ref.ts";

/** Fewer queries than this, on GPUs: a workgroup per query and head, its threads across the keys. */
const FEW = 8;

type Context = Pick<PlanContext, "software">;

/**
 * The *_lanes kernels: a thread owns 4 rows. llvmpipe runs 8 threads as one vector; its loads from addresses
 * that a workgroup shares are then one load and a broadcast. GPUs run at least 32.
 */
function lanes(rows: number, kvHeads: number, perRow: number, { software }: Context) {
  const GROUP = software ? 8 : 32;
  const blocks = Math.ceil(rows / (4 * GROUP)) * kvHeads;
  return {
    pass: { overrides: { GROUP }, groups: grid(blocks) },
    scratch: { own: blocks * 4 * GROUP * perRow },
  };
}
/** Queries of the heads that share a kv head, and how many vectors of E a thread owns for each. */
const queries = ({ T, H, E, G }: AttentionDims, vectors: number, context: Context) =>
  lanes((T * H) / G, G, vectors * E, context);
const keys = ({ S, E, G }: AttentionDims, context: Context) => lanes(S, G, 4 * E, context);

export function forwardPlan(dims: AttentionDims, _: unknown, context: Context): readonly WebGpuPass[] {
  const { T, H, E } = dims;
  if (T < FEW && !context.software) {
    const GROUP = 256;
    const PARTS = Math.max(1, Math.floor(GROUP / E));
    return [
      {
        source: "attention/attention_row.wgsl",
        bindings: ["q", "k", "v", "y", "lse"],
        overrides: { GROUP, TILE: 1024, SIZE: E, PARTS },
        groups: grid(T * H),
      },
    ];
  }
  return [
    {
      source: "attention/attention_lanes.wgsl",
      bindings: ["q", "k", "v", "y", "lse", "own"],
      ...queries(dims, 2, context).pass,
    },
  ];
}

export function forwardScratch(
  dims: AttentionDims,
  _: unknown,
  context: Context,
): Readonly<Record<string, number>> {
  return dims.T < FEW && !context.software ? {} : queries(dims, 2, context).scratch;
}

/** A thread per query and head. */
function perRow(source: string, rows: number): readonly WebGpuPass[] {
  const GROUP = 64;
  return [{ source, overrides: { GROUP }, groups: grid(Math.ceil(rows / GROUP)) }];
}

type Rows<K extends string> = { readonly [S in K | "H"]: number };
export const deltaPlan = ({ T, H }: Rows<"T">) => perRow("attention/attention_delta.wgsl", T * H);
export const mergePlan = ({ N, H }: Rows<"N">) => perRow("attention/attention_merge.wgsl", N * H);

/** Both halves of the gradient use `own`, one after the other. */
export function backwardPlan(dims: AttentionDims, _: unknown, context: Context): readonly WebGpuPass[] {
  const { pass } = keys(dims, context);
  return [
    {
      source: "attention/attention_backward_q_lanes.wgsl",
      bindings: ["q", "k", "v", "dy", "lse", "delta", "dq", "own"],
      ...queries(dims, 3, context).pass,
    },
    { source: "attention/attention_pack_lanes.wgsl", bindings: ["k", "v", "own"], ...pass },
    {
      source: "attention/attention_backward_kv_lanes.wgsl",
      bindings: ["q", "dy", "lse", "delta", "own", "dk", "dv"],
      ...pass,
    },
  ];
}

export function backwardScratch(
  dims: AttentionDims,
  _: unknown,
  context: Context,
): Readonly<Record<string, number>> {
  const own = Math.max(queries(dims, 3, context).scratch.own, keys(dims, context).scratch.own);
  return { own };
}
