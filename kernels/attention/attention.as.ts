/**
 * Attention forward on the CPU. A unit is (query block, head): 64 queries in 8 panels of 8 lanes walk over
 * the visible keys in blocks of 64, with an online softmax per lane (Dao 2023, "FlashAttention-2", algorithm
 * 1). The last query blocks see the most keys and come first. With fewer than 4 queries (decoding) a unit is
 * one query row of one head, and the lanes run along D instead.
 */
import { exp4, hmax, hsum, log1 } from "../shared/simd.as";
import { pinned } from "../shared/weight_formats.as";
import {
  EXP2_1, EXP2_2, EXP2_3, EXP2_4, EXP2_5, EXP2_FLOOR, EXP2_MAGIC, LN_2, LOG2_E, exp2,
} from "../shared/exp2.as";
import {
  FEW, KEYS, LANES, LOWEST, MASKED, QUERIES, packPanel, panelAxpy, panelDot, panelScale, rowAxpy, rowDots,
} from "./panels.as";

/** Bytes of a panel's scores against a block of keys. */
const PANEL_SCORES: usize = (KEYS * LANES) << 2;

export function attention(
  q: usize, k: usize, v: usize, y: usize, lse: usize,
  T: i32, H: i32, D: i32, S: i32, G: i32, past: i32, window: i32, sinks: i32, scale: f32,
  begin: i32, end: i32, scratch: usize,
): void {
  const heads = H / G;
  if (T < FEW) {
    for (let u = begin; u < end; u++) {
      const at = ((<usize>u * D) << 2);
      const kv = ((<usize>((u % H) / heads) * D) << 2);
      rowAttention(q + at, k + kv, v + kv, y + at, lse + (<usize>u << 2),
        D, (<usize>G * D) << 2, past + u / H, window, sinks, scale, scratch);
    }
    return;
  }
  const blocks = (T + QUERIES - 1) / QUERIES;
  for (let u = begin; u < end; u++) {
    const h = u % H;
    const t0 = (blocks - 1 - u / H) * QUERIES;
    const kv = ((<usize>(h / heads) * D) << 2);
    const at = <usize>t0 * H + h;
    blockAttention(q + ((at * D) << 2), k + kv, v + kv, y + ((at * D) << 2), lse + (at << 2),
      min(QUERIES, T - t0), H, D, (<usize>G * D) << 2, past + t0, window, sinks, scale, scratch);
  }
}

/** n ≤ 64 queries of one head, the first at position `first`. */
function blockAttention(
  q: usize, k: usize, v: usize, y: usize, lse: usize,
  n: i32, H: i32, D: i32, stride: usize, first: i32, window: i32, sinks: i32, scale: f32, scratch: usize,
): void {
  const panels = (n + LANES - 1) / LANES;
  const size = (<usize>D * LANES) << 2; // bytes of a panel, and of its accumulators
  const row = (<usize>H * D) << 2;
  const q8 = scratch;
  const acc = q8 + <usize>panels * size;
  const state = acc + <usize>panels * size; // per panel: maxima, sums, factors; 8 lanes each
  const s8 = state + <usize>panels * 96;
  for (let i = 0; i < panels; i++) {
    const t = i * LANES;
    packPanel(q + <usize>t * row, row, min(LANES, n - t), D, scale * LOG2_E, q8 + <usize>i * size);
    const st = state + <usize>i * 96;
    v128.store(st, f32x4.splat(LOWEST));
    v128.store(st, f32x4.splat(LOWEST), 16);
    memory.fill(st + 32, 0, 32);
  }
  memory.fill(acc, 0, <usize>panels * size);

  const last = first + n - 1;
  for (let j0 = 0; j0 <= last; j0 += KEYS) {
    // Past the sinks, go straight to the block where the first query's window begins
    if (window > 0 && j0 >= sinks) j0 += max(0, first - window + 1 - j0) / KEYS * KEYS;
    // All scores, then all sums, so that either keys or values are in the first-level cache
    for (let i = 0; i < panels; i++) {
      const from = firstKey(j0, first + i * LANES, window, sinks);
      const count = keysEnd(j0, first + i * LANES, last) - from;
      if (count > 0) {
        panelDot(q8 + <usize>i * size, k + <usize>from * stride, stride, count, D, s8 + <usize>i * PANEL_SCORES, 32);
      }
    }
    for (let i = 0; i < panels; i++) {
      const low = first + i * LANES; // the panel's positions are [low, high]
      const high = min(low + LANES - 1, last);
      const from = firstKey(j0, low, window, sinks);
      const count = keysEnd(j0, low, last) - from;
      if (count <= 0) continue;
      const s = s8 + <usize>i * PANEL_SCORES;
      if (from + count - 1 > low || (window > 0 && high - from >= window && from + count > sinks)) {
        mask(s, from, count, low, window, sinks);
      }
      const st = state + <usize>i * 96;
      const a = acc + <usize>i * size;
      if (softmax(s, count, st)) panelScale(a, st + 64, LANES, D, a, <usize>D << 2);
      panelAxpy(s, 32, v + <usize>from * stride, stride, count, D, a, <usize>D << 2, LANES);
    }
  }

  for (let i = 0; i < panels; i++) {
    const t = i * LANES;
    const st = state + <usize>i * 96;
    const many = min(LANES, n - t);
    for (let x = 0; x < many; x++) {
      const lane = st + (<usize>x << 2);
      const sum = load<f32>(lane, 32);
      store<f32>(lse + ((<usize>(t + x) * H) << 2), load<f32>(lane) * LN_2 + log1(sum));
      store<f32>(lane, <f32>1 / sum, 64);
    }
    panelScale(acc + <usize>i * size, st + 64, many, D, y + <usize>t * row, row);
  }
}

/** The keys [firstKey, keysEnd) of the block from j0 on that the panel of queries from position `low` on meets. */
// @ts-ignore: decorator
@inline
function firstKey(j0: i32, low: i32, window: i32, sinks: i32): i32 {
  return window > 0 && j0 >= sinks ? max(j0, low - window + 1) : j0;
}

// @ts-ignore: decorator
@inline
function keysEnd(j0: i32, low: i32, last: i32): i32 {
  return min(j0 + KEYS, min(low + LANES - 1, last) + 1);
}

/** Scores of keys that a lane's query does not see become MASKED. */
function mask(s8: usize, from: i32, count: i32, low: i32, window: i32, sinks: i32): void {
  const p0 = i32x4.add(i32x4.splat(low), i32x4(0, 1, 2, 3));
  const p1 = i32x4.add(p0, i32x4.splat(4));
  const masked = f32x4.splat(MASKED);
  for (let r = 0; r < count; r++) {
    const j = from + r;
    const key = i32x4.splat(j);
    let see0 = i32x4.ge_s(p0, key);
    let see1 = i32x4.ge_s(p1, key);
    if (window > 0 && j >= sinks) {
      const edge = i32x4.splat(j + window);
      see0 = v128.and(see0, i32x4.lt_s(p0, edge));
      see1 = v128.and(see1, i32x4.lt_s(p1, edge));
    }
    const at = s8 + (<usize>r << 5);
    v128.store(at, v128.bitselect(v128.load(at), masked, see0));
    v128.store(at, v128.bitselect(v128.load(at, 16), masked, see1), 16);
  }
}

/** Scores in base 2 become weights relative to the new maxima; true when the sums must be scaled by state's factors. */
function softmax(s8: usize, count: i32, state: usize): bool {
  const floor = pinned(f32x4.splat(EXP2_FLOOR), state + 64);
  const magic = pinned(f32x4.splat(EXP2_MAGIC), state + 64);
  const c0 = pinned(f32x4.splat(1), state + 64);
  const c1 = pinned(f32x4.splat(EXP2_1), state + 64);
  const c2 = pinned(f32x4.splat(EXP2_2), state + 64);
  const c3 = pinned(f32x4.splat(EXP2_3), state + 64);
  const c4 = pinned(f32x4.splat(EXP2_4), state + 64);
  const c5 = pinned(f32x4.splat(EXP2_5), state + 64);
  const last = s8 + (<usize>count << 5);
  let changed = false;
  for (let half: usize = 0; half < 32; half += 16) {
    const old = v128.load(state + half);
    let m = old;
    for (let at = s8 + half; at < last; at += 32) m = f32x4.pmax(m, v128.load(at));
    const f = exp2(f32x4.sub(old, m), floor, magic, c0, c1, c2, c3, c4, c5);
    let sum = f32x4.mul(v128.load(state + half, 32), f);
    for (let at = s8 + half; at < last; at += 32) {
      const e = exp2(f32x4.sub(v128.load(at), m), floor, magic, c0, c1, c2, c3, c4, c5);
      v128.store(at, e);
      sum = f32x4.add(sum, e);
    }
    v128.store(state + half, m);
    v128.store(state + half, sum, 32);
    v128.store(state + half, f, 64);
    changed = changed || v128.any_true(f32x4.ne(old, m));
  }
  return changed;
}

/** One query at `position` of one head: the sinks, then its window. `weights` is scratch of 64 numbers. */
function rowAttention(
  q: usize, k: usize, v: usize, y: usize, lse: usize,
  D: i32, stride: usize, position: i32, window: i32, sinks: i32, scale: f32, weights: usize,
): void {
  memory.fill(y, 0, <usize>D << 2);
  let top = LOWEST;
  let sum: f32 = 0;
  const begin = window > 0 ? max(0, position - window + 1) : 0;
  for (let j = 0; j <= position; ) {
    if (j >= sinks) j = max(j, begin);
    const edge = j < begin ? min(sinks, begin) : position + 1; // of the run of visible keys that j is in
    const count = min(edge - j, KEYS);
    const at = <usize>j * stride;
    rowDots(q, k + at, stride, count, D, weights);
    const padded = (count + 3) & ~3; // whole vectors: masked scores fill the last one
    const last = weights + (<usize>padded << 2);
    const factor = f32x4.splat(scale);
    for (let w = weights; w < last; w += 16) v128.store(w, f32x4.mul(v128.load(w), factor));
    for (let r = count; r < padded; r++) store<f32>(weights + (<usize>r << 2), MASKED);
    let m = f32x4.splat(LOWEST);
    for (let w = weights; w < last; w += 16) m = f32x4.pmax(m, v128.load(w));
    const peak = max(top, hmax(m));
    if (peak > top) {
      const f = f32x4.extract_lane(exp4(f32x4.splat(top - peak)), 0);
      sum *= f;
      for (let d = 0; d < D; d++) store<f32>(y + (<usize>d << 2), load<f32>(y + (<usize>d << 2)) * f);
      top = peak;
    }
    let sum4 = f32x4.splat(0);
    for (let w = weights; w < last; w += 16) {
      const e = exp4(f32x4.sub(v128.load(w), f32x4.splat(top)));
      v128.store(w, e);
      sum4 = f32x4.add(sum4, e);
    }
    sum += hsum(sum4);
    rowAxpy(weights, v + at, stride, count, D, y);
    j += count;
  }
  store<f32>(lse, top + log1(sum));
  const inverse = <f32>1 / sum;
  for (let d = 0; d < D; d++) store<f32>(y + (<usize>d << 2), load<f32>(y + (<usize>d << 2)) * inverse);
}
