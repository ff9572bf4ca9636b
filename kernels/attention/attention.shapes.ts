/** What the attention kernels' declarations share: which sizes make sense, cost, cases. */
import { anyLength } from "../kernel.ts";
import { optionalCap } from "../shared/soft_cap.ts";
import { type AttentionDims, type BackwardParams, type Span, visiblePairs } from "./attention.ref.ts";
import { ranges } from "./blocks.both.ts";

/** Keys that some query may see. */
const keysOf = ({ T, S }: AttentionDims, { past }: Pick<Span, "past">): number => Math.min(past + T, S);
const learning = (dims: AttentionDims, params: BackwardParams): number =>
  Math.max(0, keysOf(dims, params) - params.frozen);
export const backwardUnits = (dims: AttentionDims, params: BackwardParams): number =>
  ranges(dims.T, dims.E, dims.G, learning(dims, params)) * dims.G;
/** dk and dv of every key that is not frozen, for each range. */
export const partsBytes = (dims: AttentionDims, params: BackwardParams): number =>
  backwardUnits(dims, params) * learning(dims, params) * 8 * dims.E;

export const validAttention = ({ H, G }: AttentionDims): boolean => H % G === 0;

/**
 * S is a capacity: rows from past + T on are never read. Without a window, queries may stand behind the last key, and see all; with one
 * they could see none, of which there is no mean.
 */
export const attentionRanges = {
  past: ({ T, S }: AttentionDims, { window }: Pick<Span, "window">) =>
    window === 0 ? anyLength() : ([0, S - T] as const),
  window: anyLength,
  sinks: anyLength,
  softcap: optionalCap,
};

/** Bytes of q, y, k and v rows that a call touches, and what it must at least do per visible pair. */
export function attentionCost(
  dims: AttentionDims,
  params: Span,
  { products, queryRows, keyRows }: { products: number; queryRows: number; keyRows: number },
): { flops: number; bytes: number } {
  const { T, H, E, G } = dims;
  return {
    flops: 2 * products * E * H * visiblePairs(dims, params),
    bytes: 4 * (queryRows * T * H * E + keyRows * keysOf(dims, params) * G * E),
  };
}

/** Decoding and prefill, past, window and sinks, a capacity beyond the keys, queries behind the last one, a model's own heads; caps of a third of the scores. */
export function attentionCases() {
  const model = { H: 9, E: 64, G: 3 };
  return [
    { dims: { ...model, T: 1, S: 200 }, params: { past: 199 } },
    { dims: { ...model, T: 1, S: 700 }, params: { past: 600, window: 256, sinks: 4 } },
    { dims: { ...model, T: 2, S: 9 }, params: { past: 5 } },
    { dims: { ...model, T: 129, S: 129 } },
    { dims: { ...model, T: 70, S: 160 }, params: { past: 60 } },
    { dims: { H: 4, E: 16, G: 2, T: 150, S: 150 }, params: { window: 40, sinks: 3, scale: 0.25 } },
    { dims: { H: 2, E: 12, G: 1, T: 67, S: 300 }, params: { past: 133, window: 1, sinks: 70, scale: 0.3 } },
    { dims: { H: 2, E: 12, G: 2, T: 64, S: 64 }, params: { window: 64, scale: 0.3 } },
    { dims: { H: 3, E: 7, G: 3, T: 31, S: 40 }, params: { past: 3, window: 9, scale: 0.4 } },
    { dims: { ...model, T: 150, S: 70 }, params: { past: 30 } },
    { dims: { ...model, T: 2, S: 67 }, params: { past: 66 } },
    { dims: { H: 4, E: 16, G: 2, T: 70, S: 5 }, params: { past: 3, scale: 1, softcap: 1.2 } },
    { dims: { H: 2, E: 250, G: 1, T: 20, S: 40 }, params: { past: 20, scale: 0.06 } },
    { dims: { H: 1, E: 260, G: 1, T: 9, S: 12 }, params: { past: 2, scale: 0.06 } },
    { dims: { ...model, T: 1, S: 700 }, params: { past: 600, window: 256, sinks: 4, scale: 1, softcap: 3 } },
    { dims: { ...model, T: 3, S: 77 }, params: { past: 70, scale: 0.5, softcap: 1.5 } },
    { dims: { ...model, T: 70, S: 160 }, params: { past: 60, scale: 1, softcap: 3 } },
    { dims: { H: 4, E: 16, G: 2, T: 150, S: 150 }, params: { window: 40, sinks: 3, scale: 1, softcap: 1.2 } },
    { dims: { H: 3, E: 7, G: 3, T: 31, S: 40 }, params: { past: 3, window: 9, scale: 1, softcap: 0.8 } },
    { dims: { H: 2, E: 40, G: 1, T: 40, S: 45 }, params: { past: 5, scale: 0.16 } },
    {
      dims: { H: 2, E: 12, G: 1, T: 40, S: 100 },
      params: { past: 3, scale: 0.3 },
      given: { what: "NaN behind the last key", values: { k: upToLastKey, v: upToLastKey } },
    },
  ];
}

/** Rows that no query sees are never read. */
function upToLastKey(
  random: { normal(): number },
  { T, S, G, E }: AttentionDims,
  { past }: Pick<Span, "past">,
): number[] {
  return Array.from({ length: S * G * E }, (_, n) => (n < (past + T) * G * E ? random.normal() : NaN));
}
