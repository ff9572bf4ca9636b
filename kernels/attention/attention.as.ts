/**
 * Attention forward on the CPU. A unit is (query block, head): 64 queries in 4 panels of 16 lanes walk over
 * the visible keys in blocks of 64, with an online softmax per lane (Dao 2023, "FlashAttention-2", algorithm
 * 1). The last query blocks see the most keys and come first. With fewer than 4 queries (decoding) a unit is
 * one query row of one head, and the lanes run along E instead.
 */
import { exp4, hmax, hsum, log1, pinned } from "../shared/simd.as";
import {
  EXP2_1, EXP2_2, EXP2_3, EXP2_4, EXP2_5, EXP2_FLOOR, EXP2_MAGIC, LN_2, LOG2_E, exp2,
} from "../shared/exp2.as";
import { CALL_BYTES, FEW, KEYS, LANES, QUERIES, SCORE_BYTES, STATE_BYTES } from "./blocks.both";
import {
  LINE, LOWEST, MASKED, capScores, packPanel, panelAxpy, panelDot, panelScale, rowAxpy, rowDots,
} from "./panels.as";

/** What the units of a call have in common, at the beginning of the scratch. */
// @ts-ignore: decorator
@unmanaged
class Call {
  H: i32;
  E: i32;
  /** Bytes from key to key of a head. */
  stride: usize;
  window: i32;
  sinks: i32;
  scale: f32;
  /** Scores are capped to ±softcap; 0: they are not. */
  softcap: f32;
  /** The rest of the scratch. */
  scratch: usize;
}

export function attention(
  q: usize, k: usize, v: usize, y: usize, lse: usize,
  T: i32, H: i32, E: i32, S: i32, G: i32, past: i32, window: i32, sinks: i32, scale: f32, softcap: f32,
  begin: i32, end: i32, scratch: usize,
): void {
  const heads = H / G;
  const call = changetype<Call>(scratch);
  call.H = H;
  call.E = E;
  call.stride = (<usize>G * E) << 2;
  call.window = window;
  call.sinks = sinks;
  call.scale = scale;
  call.softcap = softcap;
  call.scratch = scratch + CALL_BYTES;
  if (T < FEW) {
    for (let u = begin; u < end; u++) {
      const at = ((<usize>u * E) << 2);
      const kv = ((<usize>((u % H) / heads) * E) << 2);
      rowAttention(q + at, k + kv, v + kv, y + at, lse + (<usize>u << 2), min(past + u / H, S - 1), call);
    }
    return;
  }
  const blocks = (T + QUERIES - 1) / QUERIES;
  for (let u = begin; u < end; u++) {
    const h = u % H;
    const t0 = (blocks - 1 - u / H) * QUERIES;
    const kv = ((<usize>(h / heads) * E) << 2);
    const at = <usize>t0 * H + h;
    blockAttention(q + ((at * E) << 2), k + kv, v + kv, y + ((at * E) << 2), lse + (at << 2),
      min(QUERIES, T - t0), past + t0, S, call);
  }
}

/** n ≤ 64 queries of one head, the first at position `first`, and of S keys those that they see. */
function blockAttention(
  q: usize, k: usize, v: usize, y: usize, lse: usize, n: i32, first: i32, S: i32, call: Call,
): void {
  const H = call.H, E = call.E, stride = call.stride, window = call.window, sinks = call.sinks;
  const factor = call.scale * LOG2_E, cap = call.softcap * LOG2_E; // scores come in base 2
  const panels = (n + LANES - 1) / LANES;
  const size = (<usize>E * LANES) << 2; // bytes of a panel, and of its accumulators
  const row = (<usize>H * E) << 2;
  const packed = call.scratch;
  const acc = packed + <usize>panels * size;
  const state = acc + <usize>panels * size;
  const scores = state + <usize>panels * STATE_BYTES;
  for (let i = 0; i < panels; i++) {
    const t = i * LANES;
    packPanel(q + <usize>t * row, row, min(LANES, n - t), E, factor, packed + <usize>i * size);
    const st = state + <usize>i * STATE_BYTES;
    for (let at = st; at < st + LINE; at += 16) v128.store(at, f32x4.splat(LOWEST));
    memory.fill(st + LINE, 0, LINE);
  }
  memory.fill(acc, 0, <usize>panels * size);

  const last = min(first + n, S) - 1;
  for (let j0 = 0; j0 <= last; j0 += KEYS) {
    // Past the sinks, go straight to the block where the first query's window begins
    if (window > 0 && j0 >= sinks) j0 += max(0, first - window + 1 - j0) / KEYS * KEYS;
    // All scores, then all sums, so that either keys or values are in the first-level cache
    for (let i = 0; i < panels; i++) {
      const from = firstKey(j0, first + i * LANES, window, sinks);
      const count = keysEnd(j0, first + i * LANES, last) - from;
      if (count > 0) {
        panelDot(packed + <usize>i * size, k + <usize>from * stride, stride, count, E, scores + <usize>i * SCORE_BYTES, LINE);
      }
    }
    for (let i = 0; i < panels; i++) {
      const low = first + i * LANES; // the panel's positions are [low, high]
      const high = min(low + LANES - 1, last);
      const from = firstKey(j0, low, window, sinks);
      const count = keysEnd(j0, low, last) - from;
      if (count <= 0) continue;
      const s = scores + <usize>i * SCORE_BYTES;
      if (cap > 0) capScores(s, LINE, count, cap);
      if (from + count - 1 > low || (window > 0 && high - from >= window && from + count > sinks)) {
        mask(s, from, count, low, window, sinks);
      }
      const st = state + <usize>i * STATE_BYTES;
      const a = acc + <usize>i * size;
      if (softmax(s, count, st)) panelScale(a, st + 2 * LINE, LANES, E, a, <usize>E << 2);
      panelAxpy(s, LINE, v + <usize>from * stride, stride, count, E, a, <usize>E << 2, LANES);
    }
  }

  for (let i = 0; i < panels; i++) {
    const t = i * LANES;
    const st = state + <usize>i * STATE_BYTES;
    const many = min(LANES, n - t);
    for (let x = 0; x < many; x++) {
      const lane = st + (<usize>x << 2);
      const sum = load<f32>(lane + LINE);
      store<f32>(lse + ((<usize>(t + x) * H) << 2), load<f32>(lane) * LN_2 + log1(sum));
      store<f32>(lane + 2 * LINE, <f32>1 / sum);
    }
    panelScale(acc + <usize>i * size, st + 2 * LINE, many, E, y + <usize>t * row, row);
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
function mask(scores: usize, from: i32, count: i32, low: i32, window: i32, sinks: i32): void {
  const masked = f32x4.splat(MASKED);
  for (let lane = 0; lane < LANES; lane += 4) {
    const position = i32x4.add(i32x4.splat(low + lane), i32x4(0, 1, 2, 3));
    let at = scores + (<usize>lane << 2);
    for (let j = from; j < from + count; j++, at += LINE) {
      let see = i32x4.ge_s(position, i32x4.splat(j));
      if (window > 0 && j >= sinks) see = v128.and(see, i32x4.lt_s(position, i32x4.splat(j + window)));
      v128.store(at, v128.bitselect(v128.load(at), masked, see));
    }
  }
}

/** Scores in base 2 become weights relative to the new maxima; true when the sums must be scaled by state's factors. */
function softmax(scores: usize, count: i32, state: usize): bool {
  const factors = state + 2 * LINE;
  const floor = pinned(f32x4.splat(EXP2_FLOOR), factors);
  const magic = pinned(f32x4.splat(EXP2_MAGIC), factors);
  const c0 = pinned(f32x4.splat(1), factors);
  const c1 = pinned(f32x4.splat(EXP2_1), factors);
  const c2 = pinned(f32x4.splat(EXP2_2), factors);
  const c3 = pinned(f32x4.splat(EXP2_3), factors);
  const c4 = pinned(f32x4.splat(EXP2_4), factors);
  const c5 = pinned(f32x4.splat(EXP2_5), factors);
  const last = scores + <usize>count * LINE;
  let changed = false;
  // Two vectors side by side: some engines make one of them (shared/wide.as.ts)
  for (let half: usize = 0; half < LINE; half += 32) {
    const st = state + half;
    const old0 = v128.load(st), old1 = v128.load(st, 16);
    let m0 = old0, m1 = old1;
    for (let at = scores + half; at < last; at += LINE) {
      m0 = f32x4.pmax(m0, v128.load(at));
      m1 = f32x4.pmax(m1, v128.load(at, 16));
    }
    v128.store(st, m0);
    v128.store(st, m1, 16);
    const f0 = exp2(f32x4.sub(old0, m0), floor, magic, c0, c1, c2, c3, c4, c5);
    const f1 = exp2(f32x4.sub(old1, m1), floor, magic, c0, c1, c2, c3, c4, c5);
    v128.store(factors + half, f0);
    v128.store(factors + half, f1, 16);
    let sum0 = f32x4.mul(v128.load(st + LINE), f0);
    let sum1 = f32x4.mul(v128.load(st + LINE, 16), f1);
    for (let at = scores + half; at < last; at += LINE) {
      const e0 = exp2(f32x4.sub(v128.load(at), m0), floor, magic, c0, c1, c2, c3, c4, c5);
      const e1 = exp2(f32x4.sub(v128.load(at, 16), m1), floor, magic, c0, c1, c2, c3, c4, c5);
      v128.store(at, e0);
      v128.store(at, e1, 16);
      sum0 = f32x4.add(sum0, e0);
      sum1 = f32x4.add(sum1, e1);
    }
    v128.store(st + LINE, sum0);
    v128.store(st + LINE, sum1, 16);
    changed = changed || v128.any_true(v128.or(f32x4.ne(old0, m0), f32x4.ne(old1, m1)));
  }
  return changed;
}

/** One query at `position` of one head: the sinks, then its window. */
function rowAttention(
  q: usize, k: usize, v: usize, y: usize, lse: usize, position: i32, call: Call,
): void {
  const E = call.E, stride = call.stride, window = call.window, sinks = call.sinks, softcap = call.softcap;
  const weights = call.scratch; // of 64 keys
  const factor = f32x4.splat(call.scale);
  memory.fill(y, 0, <usize>E << 2);
  let top = LOWEST;
  let sum: f32 = 0;
  const begin = window > 0 ? max(0, position - window + 1) : 0;
  for (let j = 0; j <= position; ) {
    if (j >= sinks) j = max(j, begin);
    const edge = j < begin ? min(sinks, begin) : position + 1; // of the run of visible keys that j is in
    const count = min(edge - j, KEYS);
    const at = <usize>j * stride;
    rowDots(q, k + at, stride, count, E, weights);
    const padded = (count + 3) & ~3; // whole vectors: masked scores fill the last one
    const last = weights + (<usize>padded << 2);
    for (let w = weights; w < last; w += 16) v128.store(w, f32x4.mul(v128.load(w), factor));
    // By whole lines: what is behind the last key is masked, or not read
    if (softcap > 0) capScores(weights, LINE, (count + LANES - 1) / LANES, softcap);
    for (let r = count; r < padded; r++) store<f32>(weights + (<usize>r << 2), MASKED);
    let m = f32x4.splat(LOWEST);
    for (let w = weights; w < last; w += 16) m = f32x4.pmax(m, v128.load(w));
    const peak = max(top, hmax(m));
    if (peak > top) {
      const f = f32x4.extract_lane(exp4(f32x4.splat(top - peak)), 0);
      sum *= f;
      for (let d = 0; d < E; d++) store<f32>(y + (<usize>d << 2), load<f32>(y + (<usize>d << 2)) * f);
      top = peak;
    }
    let sum4 = f32x4.splat(0);
    for (let w = weights; w < last; w += 16) {
      const e = exp4(f32x4.sub(v128.load(w), f32x4.splat(top)));
      v128.store(w, e);
      sum4 = f32x4.add(sum4, e);
    }
    sum += hsum(sum4);
    rowAxpy(weights, v + at, stride, count, E, y);
    j += count;
  }
  store<f32>(lse, top + log1(sum));
  const inverse = <f32>1 / sum;
  for (let d = 0; d < E; d++) store<f32>(y + (<usize>d << 2), load<f32>(y + (<usize>d << 2)) * inverse);
}
