/** Attention and its gradient in float64, pair by pair as in the formulas. Slow; the judge of the kernels. */
import { at } from "../base/at.ts";
import { addScaled, dot } from "../shared/float64.ts";
import { softCap, softCapSlope } from "../shared/soft_cap.ts";

export interface AttentionDims {
  readonly T: number;
  readonly H: number;
  readonly E: number;
  readonly S: number;
  readonly G: number;
}

/** Which keys a query sees. */
export interface Span {
  readonly past: number;
  readonly window: number;
  readonly sinks: number;
}

export interface AttentionParams extends Span {
  readonly scale: number;
  /** Scores are capped to ±softcap; 0: they are not. */
  readonly softcap: number;
}
type Slots<K extends string> = { readonly [N in K]: Float64Array };

/** Query t stands at position past + t and sees itself, what its window reaches back to, and the sinks; of keys there are S. */
export function sees(
  position: number,
  key: number,
  { window, sinks }: Pick<Span, "window" | "sinks">,
): boolean {
  return key <= position && (window === 0 || position - key < window || key < sinks);
}

export interface BackwardParams extends AttentionParams {
  /** So many leading keys are constants: they get no gradient. */
  readonly frozen: number;
}

/** Σ min(x, cap) for x = 1 … n */
function ramp(n: number, cap: number): number {
  const rising = Math.max(0, Math.min(n, cap));
  return (rising * (rising + 1)) / 2 + Math.max(0, n - cap) * cap;
}

type Lengths = Pick<AttentionDims, "T" | "S">;

/** Number of (query, visible key) pairs of one head: what the cost of attention is proportional to. */
export function visiblePairs({ T, S }: Lengths, { past, window, sinks }: Span): number {
  /** Pairs of the queries at the first n positions: their windows, and the sinks those have left. */
  const seen = (n: number): number =>
    window === 0 ? ramp(n, S) : ramp(n, window) + ramp(Math.max(0, n - window), sinks);
  return seen(past + T) - seen(past);
}

/** How many of these pairs have a frozen key. */
export function frozenPairs(
  { T, S }: Lengths,
  { past, window, sinks, frozen }: Span & Pick<BackwardParams, "frozen">,
): number {
  /** Of the queries at the first n positions: the frozen keys before them, less those between sinks and window. */
  const seen = (n: number): number =>
    ramp(n, Math.min(frozen, S)) - (window > 0 ? ramp(n - window - sinks, Math.max(0, frozen - sinks)) : 0);
  return seen(past + T) - seen(past);
}

/** Calls `body` for every visible pair: offsets of q's and dy's row, of k's and v's row, of lse's entry. */
function pairs(
  { T, H, E, S, G }: AttentionDims,
  params: Span,
  body: (query: number, key: number, entry: number) => void,
): void {
  for (let t = 0; t < T; t++) {
    for (let h = 0; h < H; h++) {
      const g = Math.floor(h / (H / G));
      const position = params.past + t;
      for (let j = 0; j <= position && j < S; j++) {
        if (sees(position, j, params)) body((t * H + h) * E, (j * G + g) * E, t * H + h);
      }
    }
  }
}

/** y_i = Σ_j softmax_j(s_ij) v_j,  lse_i = log Σ_j exp(s_ij),  s_ij = cap(scale · q_i·k_j) */
export function attention(
  { q, k, v, y, lse }: Slots<"q" | "k" | "v" | "y" | "lse">,
  dims: AttentionDims,
  params: AttentionParams,
): void {
  const { E } = dims;
  const score = (i: number, j: number): number => softCap(params.scale * dot(q, i, k, j, E), params.softcap);
  const top = new Float64Array(lse.length).fill(-Infinity);
  pairs(dims, params, (i, j, n) => {
    top[n] = Math.max(at(top, n), score(i, j));
  });
  lse.fill(0);
  pairs(dims, params, (i, j, n) => {
    lse[n] = at(lse, n) + Math.exp(score(i, j) - at(top, n));
  });
  lse.set(lse.map((sum, n) => at(top, n) + Math.log(sum)));
  y.fill(0);
  pairs(dims, params, (i, j, n) => {
    addScaled(y, i, Math.exp(score(i, j) - at(lse, n)), v, j, E);
  });
}

/** Dao 2023 ("FlashAttention-2"), section 2.3.2: delta_i = Σ_d y_id dy_id */
export function attentionDelta(
  { y, dy, delta }: Slots<"y" | "dy" | "delta">,
  { E }: { readonly E: number },
): void {
  for (let n = 0; n < delta.length; n++) delta[n] = dot(y, n * E, dy, n * E, E);
}

/**
 * The gradient by the same section, algorithm 2:
 *   P_ij = exp(s_ij − lse_i),  dP_ij = dy_i·v_j,  dS_ij = P_ij (dP_ij − delta_i) cap'(scale · q_i·k_j)
 *   dq_i = scale Σ_j dS_ij k_j,  dk_j = scale Σ_i dS_ij q_i,  dv_j = Σ_i P_ij dy_i,  but 0 for the frozen keys
 */
export function attentionBackward(
  {
    q,
    k,
    v,
    dy,
    lse,
    delta,
    dq,
    dk,
    dv,
  }: Slots<"q" | "k" | "v" | "dy" | "lse" | "delta" | "dq" | "dk" | "dv">,
  dims: AttentionDims,
  params: BackwardParams,
): void {
  const { E, G } = dims;
  for (const gradient of [dq, dk, dv]) gradient.fill(0);
  pairs(dims, params, (i, j, n) => {
    const s = softCap(params.scale * dot(q, i, k, j, E), params.softcap);
    const P = Math.exp(s - at(lse, n));
    const dS = P * (dot(dy, i, v, j, E) - at(delta, n)) * softCapSlope(s, params.softcap);
    addScaled(dq, i, params.scale * dS, k, j, E);
    if (j < params.frozen * G * E) return;
    addScaled(dk, j, params.scale * dS, q, i, E);
    addScaled(dv, j, P, dy, i, E);
  });
}
