/**
 * Attention backward on the CPU, after Dao 2023 ("FlashAttention-2", algorithm 2), in one walk over the pairs:
 *   P = exp(scale · q·k − lse),  dP = dy · v,  dS = scale · P ∘ (dP − delta),  dq = Σ_j dS k,  dk = Σ_i dS q,  dv = Σ_i P dy
 * (with capped scores s = c · tanh(scale · q·k / c) in their place, dS has the factor 1 − (s / c)², too).
 * A unit is a kv head and a range of queries, cut so that all units cost the same. It owns dq of its queries (of all
 * heads of the group) and writes dk and dv of the keys that they see to its own part of shared memory; a second phase
 * adds the parts in the order of the ranges. Within a unit, key blocks are outside: their keys and values are packed
 * once, their sums stay in the cache.
 */
import { pinned, softCapSlope4 } from "../shared/simd.as";
import { EXP2_1, EXP2_2, EXP2_3, EXP2_4, EXP2_5, EXP2_FLOOR, EXP2_MAGIC, LOG2_E, exp2 } from "../shared/exp2.as";
import { CALL_BYTES, KEYS, LANES, QUERIES, TILE_ROW, ranges } from "./blocks.both";
import { LINE, capScores, packPanel, panelAxpy, panelDot, rowDot, tileAlong } from "./panels.as";

/** delta[r] = Σ_d y[r,d] · dy[r,d] for rows [begin, end) of T · H. */
export function attention_delta(
  y: usize, dy: usize, delta: usize, T: i32, H: i32, E: i32, begin: i32, end: i32, scratch: usize,
): void {
  for (let r = begin; r < end; r++) {
    const at = (<usize>r * E) << 2;
    store<f32>(delta + (<usize>r << 2), rowDot(y + at, dy + at, E));
  }
}

/** First query of range r of R. A frozen key costs 3 products of the others' 5. */
function cut(r: i32, R: i32, T: i32, past: i32, window: i32, frozen: i32): i32 {
  if (r == R) return T;
  const share = <f64>r / <f64>R;
  if (window > 0 && window < past + T) return <i32>(share * T) & ~3;
  const p = max(<f64>0, <f64>past - 0.4 * frozen);
  return <i32>(sqrt(p * p + share * T * (2 * p + T)) - p) & ~3;
}

/** What the units of a call have in common, at the beginning of the scratch, and the block of keys at hand. */
// @ts-ignore: decorator
@unmanaged
class Call {
  H: i32;
  E: i32;
  /** Bytes from key to key of a head. */
  stride: usize;
  scale: f32;
  /** The soft cap in base 2; 0: none. */
  cap: f32;
  /** Panels of the keys in base 2 and of the values, both scaled. */
  k8: usize;
  v8: usize;
  /** Tiles [query][key]: scores, then P; dP, then dS. */
  p: usize;
  ds: usize;
  /** lse in base 2 and scaled delta of each query. */
  rows: usize;
  /** A panel's 1 − (s / c)². */
  slopes: usize;
  /** n keys from j0 on, the row of the first, and the window where it counts for them, else 0. */
  j0: i32;
  n: i32;
  k: usize;
  window: i32;
  /** Their dk and dv in the unit's part; 0: they are frozen. */
  sums: usize;
}

export function attention_backward(
  q: usize, k: usize, v: usize, dy: usize, lse: usize, delta: usize, dq: usize, dk: usize, dv: usize,
  T: i32, H: i32, E: i32, S: i32, G: i32, past: i32, window: i32, sinks: i32, frozen: i32, scale: f32, softcap: f32,
  shared: usize, begin: i32, end: i32, scratch: usize,
): void {
  const heads = H / G;
  const keys = min(past + T, S);
  frozen = min(frozen, keys);
  const R = <i32>ranges(T, E, G, keys - frozen);
  const rowBytes = <usize>E << 2;
  const kvStride = <usize>G * rowBytes;
  const call = changetype<Call>(scratch);
  call.H = H;
  call.E = E;
  call.stride = kvStride;
  call.scale = scale;
  call.cap = softcap * LOG2_E;
  call.k8 = scratch + CALL_BYTES;
  call.v8 = call.k8 + <usize>KEYS * rowBytes;
  call.p = call.v8 + <usize>KEYS * rowBytes;
  call.ds = call.p + <usize>QUERIES * TILE_ROW;
  call.rows = call.ds + <usize>QUERIES * TILE_ROW;
  call.slopes = call.rows + 8 * QUERIES + 16;
  for (let u = begin; u < end; u++) {
    const g = u % G;
    const ta = cut(u / G, R, T, past, window, frozen);
    const tb = cut(u / G + 1, R, T, past, window, frozen);
    if (ta == tb) continue;
    for (let t = ta; t < tb; t++) memory.fill(dq + (<usize>t * H + g * heads) * rowBytes, 0, <usize>heads * rowBytes);
    const part = shared + <usize>u * (keys - frozen) * 2 * rowBytes;
    const reach = window > 0 ? past + ta - window + 1 : 0; // the first key in the first query's window
    let n = 0;
    const seen = min(past + tb, S);
    for (let j0 = 0; j0 < seen; j0 += n) {
      // Blocks end where sinks and frozen keys end, and begin where the window does
      let edge = seen;
      if (j0 < frozen) edge = min(edge, frozen);
      if (window > 0 && j0 < sinks) edge = min(edge, sinks);
      else if (reach > j0) {
        if (reach >= edge) {
          n = edge - j0;
          continue;
        }
        j0 = reach;
      }
      n = min(KEYS, edge - j0);
      const windowed = window > 0 && j0 >= sinks;
      const from = (<usize>j0 * G + g) * rowBytes;
      for (let i = 0; i < n; i += LANES) {
        const at = from + <usize>i * kvStride;
        packPanel(k + at, kvStride, min(LANES, n - i), E, scale * LOG2_E, call.k8 + <usize>i * rowBytes);
        packPanel(v + at, kvStride, min(LANES, n - i), E, scale, call.v8 + <usize>i * rowBytes);
      }
      const sums: usize = j0 < frozen ? 0 : part + <usize>(j0 - frozen) * 2 * rowBytes;
      if (sums) memory.fill(sums, 0, <usize>n * 2 * rowBytes);
      call.j0 = j0;
      call.n = n;
      call.k = k + from;
      call.window = windowed ? window : 0;
      call.sums = sums;
      const last = windowed ? min(tb, j0 + n - 1 + window - past) : tb;
      for (let h = g * heads; h < (g + 1) * heads; h++) {
        for (let t0 = max(ta, j0 - past); t0 < last; t0 += QUERIES) {
          const at = <usize>t0 * H + h;
          block(q + at * rowBytes, dy + at * rowBytes, lse + (at << 2), delta + (at << 2), dq + at * rowBytes,
            min(QUERIES, last - t0), past + t0, call);
        }
      }
    }
  }
}

/**
 * m ≤ 64 queries of one head, the first at position `first`, and the call's block of n ≤ 64 keys. Panels of 16 keys meet the rows
 * from the first that sees one of them to the last; both ends are rounded outwards to groups of 4 rows and masked.
 */
function block(
  q: usize, dy: usize, lse: usize, delta: usize, dq: usize, m: i32, first: i32, call: Call,
): void {
  const H = call.H, E = call.E, scale = call.scale, cap = call.cap;
  const j0 = call.j0, n = call.n, window = call.window;
  const p = call.p, ds = call.ds, rows = call.rows;
  const rowBytes = <usize>E << 2;
  const stride = <usize>H * rowBytes;
  // Per row: lse in base 2, scaled delta
  for (let r = 0; r < m; r++) {
    const at = (<usize>r * H) << 2;
    store<f32>(rows + (<usize>r << 3), load<f32>(lse + at) * LOG2_E);
    store<f32>(rows + (<usize>r << 3), load<f32>(delta + at) * scale, 4);
  }
  // Product by product, so that each has only q or only dy in the first-level cache
  for (let i = 0; i < n; i += LANES) {
    const from = firstRow(j0 + i, first);
    const count = rowsEnd(j0 + i, first, m, window) - from;
    if (count <= 0) continue;
    const tile = <usize>from * TILE_ROW + (<usize>i << 2);
    panelDot(call.k8 + <usize>i * rowBytes, q + <usize>from * stride, stride, count, E, p + tile, TILE_ROW);
  }
  for (let i = 0; i < n; i += LANES) {
    const low = j0 + i;
    const from = firstRow(low, first);
    const count = rowsEnd(low, first, m, window) - from;
    if (count <= 0) continue;
    const tile = <usize>from * TILE_ROW + (<usize>i << 2);
    panelDot(call.v8 + <usize>i * rowBytes, dy + <usize>from * stride, stride, count, E, ds + tile, TILE_ROW);
    if (cap > 0) {
      capScores(p + tile, TILE_ROW, count, cap);
      capSlopes(p + tile, count, cap, call.slopes);
    }
    const masked = first + from < low + LANES - 1 || (window > 0 && first + from + count - 1 - low >= window);
    weigh(p + tile, ds + tile, count, rows + (<usize>from << 3), rows + 8 * QUERIES, masked, low, first + from, window);
    if (cap > 0) mulSlopes(ds + tile, count, call.slopes);
  }
  if (call.sums) {
    addProducts(p, dy, stride, m, first, j0, n, E, window, call.sums + rowBytes);
    addProducts(ds, q, stride, m, first, j0, n, E, window, call.sums);
  }
  for (let r = 0; r < m; r += 4) {
    // The panels that this group of rows met
    const end = min(n, (first + r + 4 - j0 + LANES - 1) & ~(LANES - 1));
    const begin = window > 0 ? max(0, first + r - window - j0 + 1) & ~(LANES - 1) : 0;
    if (end > begin) {
      tileAlong(ds + <usize>r * TILE_ROW + (<usize>begin << 2), call.k + <usize>begin * call.stride, call.stride,
        end - begin, E, dq + <usize>r * stride, stride, min(4, m - r));
    }
  }
}

/** slopes[r][i] = 1 − (scores[r][i] / cap)² for n rows of a panel's capped scores; rows of `slopes` are a LINE long. */
function capSlopes(scores: usize, n: i32, cap: f32, slopes: usize): void {
  const cap4 = f32x4.splat(cap);
  for (; n > 0; n--, scores += TILE_ROW, slopes += LINE) {
    for (let i: usize = 0; i < LINE; i += 32) {
      const f0 = softCapSlope4(v128.load(scores + i), cap4);
      const f1 = softCapSlope4(v128.load(scores + i, 16), cap4);
      v128.store(slopes + i, f0);
      v128.store(slopes + i, f1, 16);
    }
  }
}

/** ds[r][i] *= slopes[r][i] */
function mulSlopes(ds: usize, n: i32, slopes: usize): void {
  for (; n > 0; n--, ds += TILE_ROW, slopes += LINE) {
    for (let i: usize = 0; i < LINE; i += 32) {
      const d0 = f32x4.mul(v128.load(ds + i), v128.load(slopes + i));
      const d1 = f32x4.mul(v128.load(ds + i, 16), v128.load(slopes + i, 16));
      v128.store(ds + i, d0);
      v128.store(ds + i, d1, 16);
    }
  }
}

/** The rows [firstRow, rowsEnd) of a block that meet the panel of keys from `low` on. */
// @ts-ignore: decorator
@inline
function firstRow(low: i32, first: i32): i32 {
  return max(0, low - first) & ~3;
}

// @ts-ignore: decorator
@inline
function rowsEnd(low: i32, first: i32, m: i32, window: i32): i32 {
  return window > 0 ? min(m, (low + LANES - 1 + window - first + 3) & ~3) : m;
}

/** sums[j] += Σ_r weights[r][j] · x[r] for the n keys from j0 on, in rows of 2 · E. */
function addProducts(
  weights: usize, x: usize, stride: usize, m: i32, first: i32, j0: i32, n: i32, E: i32, window: i32, sums: usize,
): void {
  const sumStride = <usize>E << 3;
  for (let i = 0; i < n; i += LANES) {
    const from = firstRow(j0 + i, first);
    const count = rowsEnd(j0 + i, first, m, window) - from;
    if (count <= 0) continue;
    panelAxpy(weights + <usize>from * TILE_ROW + (<usize>i << 2), TILE_ROW, x + <usize>from * stride, stride, count, E,
      sums + <usize>i * sumStride, sumStride, min(LANES, n - i));
  }
}

/** Per query r and key lane: from scores to P, from dP to dS. The lanes' keys begin at `low`. */
function weigh(
  p: usize, ds: usize, count: i32, rows: usize, room: usize, masked: bool, low: i32, first: i32, window: i32,
): void {
  const end = rows + <usize>(count << 3);
  const floor = pinned(f32x4.splat(EXP2_FLOOR), room);
  const magic = pinned(f32x4.splat(EXP2_MAGIC), room);
  const c0 = pinned(f32x4.splat(1), room);
  const c1 = pinned(f32x4.splat(EXP2_1), room);
  const c2 = pinned(f32x4.splat(EXP2_2), room);
  const c3 = pinned(f32x4.splat(EXP2_3), room);
  const c4 = pinned(f32x4.splat(EXP2_4), room);
  const c5 = pinned(f32x4.splat(EXP2_5), room);
  if (!masked) {
    for (; rows < end; rows += 8) {
      const l = v128.load32_splat(rows);
      const d = v128.load32_splat(rows, 4);
      for (let i: usize = 0; i < 4 * LANES; i += 32) {
        const e0 = exp2(f32x4.sub(v128.load(p + i), l), floor, magic, c0, c1, c2, c3, c4, c5);
        const e1 = exp2(f32x4.sub(v128.load(p + i, 16), l), floor, magic, c0, c1, c2, c3, c4, c5);
        const g0 = f32x4.mul(e0, f32x4.sub(v128.load(ds + i), d));
        const g1 = f32x4.mul(e1, f32x4.sub(v128.load(ds + i, 16), d));
        v128.store(p + i, e0);
        v128.store(p + i, e1, 16);
        v128.store(ds + i, g0);
        v128.store(ds + i, g1, 16);
      }
      p += TILE_ROW;
      ds += TILE_ROW;
    }
    return;
  }
  const reach = window > 0 ? window : i32.MAX_VALUE;
  for (let lane = 0; lane < LANES; lane += 4) {
    const key = i32x4.add(i32x4.splat(low + lane), i32x4(0, 1, 2, 3));
    let at = <usize>lane << 2;
    for (let r = 0; r < count; r++) {
      const see = v128.and(
        i32x4.le_s(key, i32x4.splat(first + r)),
        i32x4.gt_s(key, i32x4.splat(first + r - reach)),
      );
      const row = rows + (<usize>r << 3);
      const x = f32x4.sub(v128.load(p + at), v128.load32_splat(row));
      const e = v128.and(exp2(x, floor, magic, c0, c1, c2, c3, c4, c5), see);
      v128.store(p + at, e);
      const dp = f32x4.sub(v128.load(ds + at), v128.load32_splat(row, 4));
      v128.store(ds + at, v128.and(f32x4.mul(e, dp), see));
      at += TILE_ROW;
    }
  }
}

/** The second phase: dk and dv of 64 keys of a kv head from the parts of the ranges whose queries see them. */
export function attention_backward_sum(
  q: usize, k: usize, v: usize, dy: usize, lse: usize, delta: usize, dq: usize, dk: usize, dv: usize,
  T: i32, H: i32, E: i32, S: i32, G: i32, past: i32, window: i32, sinks: i32, frozen: i32, scale: f32, softcap: f32,
  shared: usize, begin: i32, end: i32, scratch: usize,
): void {
  const keys = min(past + T, S);
  frozen = min(frozen, keys);
  const R = <i32>ranges(T, E, G, keys - frozen);
  const rowBytes = <usize>E << 2;
  for (let u = begin; u < end; u++) {
    const g = u % G;
    const j0 = u / G * KEYS;
    const j1 = min(j0 + KEYS, S);
    for (let j = j0; j < j1; j++) {
      const at = (<usize>j * G + g) * rowBytes;
      memory.fill(dk + at, 0, rowBytes);
      memory.fill(dv + at, 0, rowBytes);
    }
    for (let r = 0; r < R; r++) {
      const ta = cut(r, R, T, past, window, frozen);
      const tb = cut(r + 1, R, T, past, window, frozen);
      if (ta == tb) continue;
      const reach = window > 0 ? past + ta - window + 1 : 0;
      const part = shared + <usize>(r * G + g) * (keys - frozen) * 2 * rowBytes;
      for (let j = max(j0, frozen); j < min(j1, past + tb); j++) {
        if (j < reach && j >= sinks) continue;
        const at = (<usize>j * G + g) * rowBytes;
        const from = part + <usize>(j - frozen) * 2 * rowBytes;
        addRow(dk + at, from, E);
        addRow(dv + at, from + rowBytes, E);
      }
    }
  }
}

function addRow(to: usize, from: usize, E: i32): void {
  const vec = to + (<usize>(E & ~3) << 2);
  const end = to + (<usize>E << 2);
  for (; to < vec; to += 16, from += 16) v128.store(to, f32x4.add(v128.load(to), v128.load(from)));
  for (; to < end; to += 4, from += 4) store<f32>(to, load<f32>(to) + load<f32>(from));
}
