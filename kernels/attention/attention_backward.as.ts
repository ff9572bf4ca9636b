/**
 * Attention backward on the CPU, after Dao 2023 ("FlashAttention-2", algorithm 2), as two kernels without
 * atomics: backward_q owns query blocks and walks over keys, backward_kv owns key blocks and walks over the
 * queries that see them, in a fixed order. Both recompute P = exp(scale · q·k − lse) in tiles:
 *   dP = dy · v,   dS = P ∘ (dP − delta),   dq = scale · Σ_j dS k,   dk = scale · Σ_i dS q,   dv = Σ_i P dy
 */
import { exp4 } from "../shared/simd.as";
import { KEYS, LANES, QUERIES, packPanel, panelAxpy, panelDot, panelScale, rowDot } from "./panels.as";

/** delta[r] = Σ_d y[r,d] · dy[r,d] for rows [begin, end) of T · H. */
export function attention_delta(
  y: usize, dy: usize, delta: usize, T: i32, H: i32, D: i32, begin: i32, end: i32, scratch: usize,
): void {
  for (let r = begin; r < end; r++) {
    const at = (<usize>r * D) << 2;
    store<f32>(delta + (<usize>r << 2), rowDot(y + at, dy + at, D));
  }
}

export function attention_backward_q(
  q: usize, k: usize, v: usize, dy: usize, lse: usize, delta: usize, dq: usize,
  T: i32, H: i32, D: i32, S: i32, G: i32, past: i32, window: i32, sinks: i32, scale: f32,
  begin: i32, end: i32, scratch: usize,
): void {
  const heads = H / G;
  const blocks = (T + QUERIES - 1) / QUERIES;
  for (let u = begin; u < end; u++) {
    const h = u % H;
    const t0 = (blocks - 1 - u / H) * QUERIES;
    const kv = (<usize>(h / heads) * D) << 2;
    const at = <usize>t0 * H + h;
    queryBlock((at * D) << 2, q, k + kv, v + kv, dy, lse + (at << 2), delta + (at << 2), dq,
      min(QUERIES, T - t0), H, D, (<usize>G * D) << 2, past + t0, window, sinks, scale, scratch);
  }
}

/** dq of n ≤ 64 queries of one head, the first at position `first` and at byte `at` of q, dy and dq. */
function queryBlock(
  at: usize, q: usize, k: usize, v: usize, dy: usize, lse: usize, delta: usize, dq: usize,
  n: i32, H: i32, D: i32, stride: usize, first: i32, window: i32, sinks: i32, scale: f32, scratch: usize,
): void {
  const panels = (n + LANES - 1) / LANES;
  const size = (<usize>D * LANES) << 2;
  const row = (<usize>H * D) << 2;
  const q8 = scratch;
  const dy8 = q8 + <usize>panels * size;
  const acc = dy8 + <usize>panels * size;
  const state = acc + <usize>panels * size; // per panel: lse, delta, scale; 8 lanes each
  const p8 = state + <usize>panels * 96;
  const dp8 = p8 + (KEYS * LANES << 2);
  for (let i = 0; i < panels; i++) {
    const t = i * LANES;
    const many = min(LANES, n - t);
    const st = state + <usize>i * 96;
    packPanel(q + at + <usize>t * row, row, many, D, scale, q8 + <usize>i * size);
    packPanel(dy + at + <usize>t * row, row, many, D, 1, dy8 + <usize>i * size);
    packPanel(lse + ((<usize>t * H) << 2), <usize>H << 2, many, 1, 1, st);
    packPanel(delta + ((<usize>t * H) << 2), <usize>H << 2, many, 1, 1, st + 32);
    v128.store(st, f32x4.splat(scale), 64);
    v128.store(st, f32x4.splat(scale), 80);
  }
  memory.fill(acc, 0, <usize>panels * size);

  const last = first + n - 1;
  for (let j0 = 0; j0 <= last; j0 += KEYS) {
    // Past the sinks, go straight to the block where the first query's window begins
    if (window > 0 && j0 >= sinks) j0 += max(0, first - window + 1 - j0) / KEYS * KEYS;
    for (let i = 0; i < panels; i++) {
      const low = first + i * LANES; // the panel's positions are [low, high]
      const high = min(low + LANES - 1, last);
      let from = j0;
      if (window > 0 && from >= sinks) from = max(from, low - window + 1);
      const count = min(j0 + KEYS, high + 1) - from;
      if (count <= 0) continue;
      const kv = <usize>from * stride;
      panelDot(q8 + <usize>i * size, k + kv, stride, count, D, p8);
      panelDot(dy8 + <usize>i * size, v + kv, stride, count, D, dp8);
      const st = state + <usize>i * 96;
      const lse0 = v128.load(st), lse1 = v128.load(st, 16);
      const delta0 = v128.load(st, 32), delta1 = v128.load(st, 48);
      const masked = from + count - 1 > low || (window > 0 && high - from >= window && from + count > sinks);
      const p0 = i32x4.add(i32x4.splat(low), i32x4(0, 1, 2, 3));
      const p1 = i32x4.add(p0, i32x4.splat(4));
      for (let r = 0; r < count; r++) {
        const s = p8 + (<usize>r << 5);
        const dp = dp8 + (<usize>r << 5);
        let e0 = exp4(f32x4.sub(v128.load(s), lse0));
        let e1 = exp4(f32x4.sub(v128.load(s, 16), lse1));
        if (masked) {
          const j = from + r;
          const key = i32x4.splat(j);
          e0 = v128.and(e0, i32x4.ge_s(p0, key));
          e1 = v128.and(e1, i32x4.ge_s(p1, key));
          if (window > 0 && j >= sinks) {
            const edge = i32x4.splat(j + window);
            e0 = v128.and(e0, i32x4.lt_s(p0, edge));
            e1 = v128.and(e1, i32x4.lt_s(p1, edge));
          }
        }
        v128.store(s, f32x4.mul(e0, f32x4.sub(v128.load(dp), delta0)));
        v128.store(s, f32x4.mul(e1, f32x4.sub(v128.load(dp, 16), delta1)), 16);
      }
      panelAxpy(p8, k + kv, stride, count, D, acc + <usize>i * size);
    }
  }
  for (let i = 0; i < panels; i++) {
    const t = i * LANES;
    const factors = state + <usize>i * 96 + 64;
    panelScale(acc + <usize>i * size, factors, min(LANES, n - t), D, dq + at + <usize>t * row, row);
  }
}

export function attention_backward_kv(
  q: usize, k: usize, v: usize, dy: usize, lse: usize, delta: usize, dk: usize, dv: usize,
  T: i32, H: i32, D: i32, S: i32, G: i32, past: i32, window: i32, sinks: i32, scale: f32,
  begin: i32, end: i32, scratch: usize,
): void {
  const heads = H / G;
  for (let u = begin; u < end; u++) {
    const g = u % G;
    const j0 = (u / G) * KEYS;
    const at = ((<usize>j0 * G + g) * D) << 2;
    keyBlock(at, q, k, v, dy, lse, delta, dk, dv, g * heads, heads,
      j0, min(KEYS, S - j0), T, H, D, (<usize>G * D) << 2, past, window, sinks, scale, scratch);
  }
}

/** dk and dv of n ≤ 64 keys from j0 on, at byte `at` of k and v; heads [h0, h0 + heads) share them. */
function keyBlock(
  at: usize, q: usize, k: usize, v: usize, dy: usize, lse: usize, delta: usize, dk: usize, dv: usize,
  h0: i32, heads: i32, j0: i32, n: i32, T: i32, H: i32, D: i32, stride: usize,
  past: i32, window: i32, sinks: i32, scale: f32, scratch: usize,
): void {
  const size = (<usize>D * LANES) << 2;
  const panels = (n + LANES - 1) / LANES;
  const used = min(n, past + T - j0); // keys that hold values; rows behind them may be garbage
  const row = (<usize>H * D) << 2;
  const k8 = scratch;
  const v8 = k8 + <usize>panels * size;
  const dk8 = v8 + <usize>panels * size;
  const dv8 = dk8 + <usize>panels * size;
  const factors = dv8 + <usize>panels * size; // 8 × scale, 8 × 1
  const p8 = factors + 64;
  const dp8 = p8 + (QUERIES * LANES << 2);
  for (let i = 0; i < panels; i++) {
    const many = max(0, min(LANES, used - i * LANES));
    const from = at + <usize>(i * LANES) * stride;
    packPanel(k + from, stride, many, D, scale, k8 + <usize>i * size);
    packPanel(v + from, stride, many, D, 1, v8 + <usize>i * size);
  }
  memory.fill(dk8, 0, <usize>panels * size * 2);

  // Queries that see a key of the block: from the first key's own on; in a window, up to the last key's last
  // one
  const t_first = max(0, j0 - past);
  const t_last = window > 0 && j0 >= sinks ? min(T, j0 + n - 1 + window - past) : T;
  for (let h = h0; h < h0 + heads && used > 0; h++) {
    for (let t0 = t_first; t0 < t_last; t0 += QUERIES) {
      const t1 = min(t_last, t0 + QUERIES);
      for (let i = 0; i < panels; i++) {
        const low = j0 + i * LANES; // the panel's keys are [low, high]
        const high = min(low + LANES, j0 + used) - 1;
        const from = max(t0, low - past);
        const to = window > 0 && low >= sinks ? min(t1, high + window - past) : t1;
        const count = to - from;
        if (count <= 0 || high < low) continue;
        const head = <usize>from * H + h;
        const rows = (head * D) << 2;
        panelDot(k8 + <usize>i * size, q + rows, row, count, D, p8);
        panelDot(v8 + <usize>i * size, dy + rows, row, count, D, dp8);
        // Also where lanes are left over: they stand for keys behind every query
        const masked = past + from < low + LANES - 1 ||
          (window > 0 && high >= sinks && past + to - 1 - low >= window);
        weigh(p8, dp8, count, lse + (head << 2), delta + (head << 2), <usize>H << 2,
          masked, low, past + from, window, sinks);
        panelAxpy(p8, dy + rows, row, count, D, dv8 + <usize>i * size);
        panelAxpy(dp8, q + rows, row, count, D, dk8 + <usize>i * size);
      }
    }
  }

  v128.store(factors, f32x4.splat(scale));
  v128.store(factors, f32x4.splat(scale), 16);
  v128.store(factors, f32x4.splat(1), 32);
  v128.store(factors, f32x4.splat(1), 48);
  for (let i = 0; i < panels; i++) {
    const many = min(LANES, n - i * LANES);
    const to = at + <usize>(i * LANES) * stride;
    panelScale(dk8 + <usize>i * size, factors, many, D, dk + to, stride);
    panelScale(dv8 + <usize>i * size, factors + 32, many, D, dv + to, stride);
  }
}

/** Per query r and key lane: p8 from scores to P, dp8 from dP to dS. The lanes' keys begin at `low`. */
function weigh(
  p8: usize, dp8: usize, count: i32, lse: usize, delta: usize, step: usize,
  masked: bool, low: i32, first: i32, window: i32, sinks: i32,
): void {
  const key0 = i32x4.add(i32x4.splat(low), i32x4(0, 1, 2, 3));
  const key1 = i32x4.add(key0, i32x4.splat(4));
  const sink0 = i32x4.lt_s(key0, i32x4.splat(window > 0 ? sinks : i32.MAX_VALUE));
  const sink1 = i32x4.lt_s(key1, i32x4.splat(window > 0 ? sinks : i32.MAX_VALUE));
  for (let r = 0; r < count; r++) {
    const s = p8 + (<usize>r << 5);
    const dp = dp8 + (<usize>r << 5);
    const l = v128.load32_splat(lse);
    let e0 = exp4(f32x4.sub(v128.load(s), l));
    let e1 = exp4(f32x4.sub(v128.load(s, 16), l));
    if (masked) {
      const position = i32x4.splat(first + r);
      const edge = i32x4.splat(first + r - window);
      e0 = v128.and(e0, v128.and(i32x4.le_s(key0, position), v128.or(sink0, i32x4.gt_s(key0, edge))));
      e1 = v128.and(e1, v128.and(i32x4.le_s(key1, position), v128.or(sink1, i32x4.gt_s(key1, edge))));
    }
    const d = v128.load32_splat(delta);
    v128.store(s, e0);
    v128.store(s, e1, 16);
    v128.store(dp, f32x4.mul(e0, f32x4.sub(v128.load(dp), d)));
    v128.store(dp, f32x4.mul(e1, f32x4.sub(v128.load(dp, 16), d)), 16);
    lse += step;
    delta += step;
  }
}
