/** How the attention kernels run on WebGPU. */
import { type PlanContext, type WebGpuPass, grid } from "../kernel.ts";
import type { AttentionDims } from "./attention.ref.ts";

/** Fewer queries than this: a workgroup per query and head, its threads across the keys. */
const FEW = 8;
/** Threads of a workgroup of the *_lanes kernels: what llvmpipe runs as one vector. A thread owns 4 rows. */
const LANES = 8;
const BLOCK = 4 * LANES;

type Context = Pick<PlanContext, "software">;
const queryBlocks = ({ T, H }: AttentionDims): number => Math.ceil(T / BLOCK) * H;
const keyBlocks = ({ S, G }: AttentionDims): number => Math.ceil(S / BLOCK) * G;
const overrides = { GROUP: LANES };

export function forwardPlan(dims: AttentionDims, _: unknown, { software }: Context): readonly WebGpuPass[] {
  const { T, H, D } = dims;
  if (T < FEW) {
    const GROUP = software ? 64 : 256;
    const PARTS = Math.max(1, Math.floor(GROUP / D));
    return [
      {
        source: "attention_row.wgsl",
        bindings: ["q", "k", "v", "y", "lse"],
        overrides: { GROUP, TILE: 1024, SIZE: D, PARTS },
        groups: grid(T * H),
      },
    ];
  }
  return [
    {
      source: "attention_lanes.wgsl",
      bindings: ["q", "k", "v", "y", "lse", "own"],
      overrides,
      groups: grid(queryBlocks(dims)),
    },
  ];
}

export function forwardScratch(dims: AttentionDims): Readonly<Record<string, number>> {
  return dims.T < FEW ? {} : { own: 2 * BLOCK * dims.D * queryBlocks(dims) };
}

export function deltaPlan({ T, H }: { readonly T: number; readonly H: number }): readonly WebGpuPass[] {
  const GROUP = 64;
  return [{ source: "attention_delta.wgsl", overrides: { GROUP }, groups: grid(Math.ceil((T * H) / GROUP)) }];
}

export function backwardQPlan(dims: AttentionDims): readonly WebGpuPass[] {
  return [
    {
      source: "attention_backward_q_lanes.wgsl",
      bindings: ["q", "k", "v", "dy", "lse", "delta", "dq", "own"],
      overrides,
      groups: grid(queryBlocks(dims)),
    },
  ];
}

export function backwardQScratch(dims: AttentionDims): Readonly<Record<string, number>> {
  return { own: 3 * BLOCK * dims.D * queryBlocks(dims) };
}

export function backwardKVPlan(dims: AttentionDims): readonly WebGpuPass[] {
  const groups = grid(keyBlocks(dims));
  return [
    { source: "attention_pack_lanes.wgsl", bindings: ["k", "v", "own"], overrides, groups },
    {
      source: "attention_backward_kv_lanes.wgsl",
      bindings: ["q", "dy", "lse", "delta", "own", "dk", "dv"],
      overrides,
      groups,
    },
  ];
}

export function backwardKVScratch(dims: AttentionDims): Readonly<Record<string, number>> {
  return { own: 4 * BLOCK * dims.D * keyBlocks(dims) };
}
