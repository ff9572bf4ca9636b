/** How the attention kernels run on WebGPU. */
import { type PlanContext, type WebGpuPass, grid } from "../kernel.ts";
import type { AttentionDims } from "./attention.ref.ts";

/** Fewer queries than this, on GPUs: a workgroup per query and head, its threads across the keys. */
const FEW = 8;
const ROW = { GROUP: 256, TILE: 1024 };
/** Words of workgroup memory that every adapter has. */
const LEAST_MEMORY = 16384 / 4;

type Context = Pick<PlanContext, "software">;

/** The *_tile kernels: a workgroup owns 32 rows, or keys, of a kv head, and sums of up to so many columns. */
const SIDE = 32;
const WIDEST = 256;

const tiled = ({ E }: AttentionDims, { software }: Context): boolean => !software && E <= WIDEST;

/** A pass with a workgroup for each `SIDE` of `rows` of each kv head. */
function tiles(
  source: string,
  bindings: readonly string[],
  rows: number,
  { G, E }: AttentionDims,
): WebGpuPass {
  return {
    source,
    bindings,
    overrides: { STRIPS: Math.ceil(E / SIDE) },
    groups: grid(Math.ceil(rows / SIDE) * G),
  };
}

/**
 * The *_lanes kernels: a thread owns 4 rows. llvmpipe runs 8 threads as one vector; its loads from addresses
 * that a workgroup shares are then one load and a broadcast. GPUs, which run at least 32, come here with the widest heads alone.
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

/** Threads that share a column of attention_row.wgsl. */
const rowParts = (E: number): number => Math.max(1, Math.floor(ROW.GROUP / E));
const byRow = ({ T, E }: AttentionDims, { software }: Context): boolean =>
  T < FEW && !software && ROW.TILE + ROW.GROUP + E + E * rowParts(E) <= LEAST_MEMORY;

export function forwardPlan(dims: AttentionDims, _: unknown, context: Context): readonly WebGpuPass[] {
  const { T, H, E, G } = dims;
  if (byRow(dims, context)) {
    return [
      {
        source: "attention/attention_row.wgsl",
        bindings: ["q", "k", "v", "y", "lse"],
        overrides: { ...ROW, SIZE: E, PARTS: rowParts(E) },
        groups: grid(T * H),
      },
    ];
  }
  if (tiled(dims, context)) {
    const bindings = ["q", "k", "v", "y", "lse"];
    return [tiles("attention/attention_tile.wgsl", bindings, (T * H) / G, dims)];
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
  return byRow(dims, context) || tiled(dims, context) ? {} : queries(dims, 2, context).scratch;
}

/** A thread per query and head. */
function perRow(source: string, rows: number): readonly WebGpuPass[] {
  const GROUP = 64;
  return [{ source, overrides: { GROUP }, groups: grid(Math.ceil(rows / GROUP)) }];
}

type Rows<K extends string> = { readonly [S in K | "H"]: number };
export const deltaPlan = ({ T, H }: Rows<"T">) => perRow("attention/attention_delta.wgsl", T * H);
export const mergePlan = ({ N, H }: Rows<"N">) => perRow("attention/attention_merge.wgsl", N * H);

/** Of the *_lanes kernels both halves of the gradient use `own`, one after the other. */
export function backwardPlan(dims: AttentionDims, _: unknown, context: Context): readonly WebGpuPass[] {
  if (tiled(dims, context)) {
    const { T, H, S, G } = dims;
    const read = ["q", "k", "v", "dy", "lse", "delta"];
    return [
      tiles("attention/attention_backward_q_tile.wgsl", [...read, "dq"], (T * H) / G, dims),
      tiles("attention/attention_backward_kv_tile.wgsl", [...read, "dk", "dv"], S, dims),
    ];
  }
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
  if (tiled(dims, context)) return {};
  const own = Math.max(queries(dims, 3, context).scratch.own, keys(dims, context).scratch.own);
  return { own };
}
