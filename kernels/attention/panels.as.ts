/**
 * The two small products that attention is made of, both ways: a *panel* is 16 query (or key) rows transposed,
 * so that the 16 rows are SIMD lanes and a softmax over the other side never needs a sum across lanes.
 *   panelDot   scores of 16 lanes against n rows          s[r][i] = Σ_d panel[d][i] · rows[r][d]
 *   panelAxpy  n weighted rows added to 16 accumulators   acc[i][d] += Σ_r s[r][i] · rows[r][d]
 * Both keep a tile of 4 × 8 sums in registers, of 4 × 16 where the engine pairs them. rowDots and rowAxpy are the same
 * for a single row (decoding). Strides are in bytes.
 */
import { hsum, madd, softCap4 } from "../shared/simd.as";
import { tile4x16, wide } from "../shared/wide.as";
import { LANES, TILE_ROW } from "./blocks.both";

/** Bytes of a depth of a panel, and of a row of its scores. */
export const LINE: usize = 4 * LANES;
/** Finite stand-ins for −∞: a masked score lies so far below the first maximum that its exponential is 0. */
export const MASKED: f32 = -3.0e38;
export const LOWEST: f32 = -1.0e30;

/** panel[d][i] = rows[i][d] · factor for i < n, 0 for n ≤ i < 16. */
export function packPanel(rows: usize, stride: usize, n: i32, E: i32, factor: f32, panel: usize): void {
  if (n < LANES) memory.fill(panel, 0, (<usize>E * LANES) << 2);
  const factor4 = f32x4.splat(factor);
  let i = 0;
  for (; i + 4 <= n; i += 4) {
    let p0 = rows + <usize>i * stride;
    let p1 = p0 + stride;
    let p2 = p1 + stride;
    let p3 = p2 + stride;
    let to = panel + (<usize>i << 2);
    let d = E;
    for (; d >= 4; d -= 4) {
      const v0 = f32x4.mul(v128.load(p0), factor4);
      const v1 = f32x4.mul(v128.load(p1), factor4);
      const v2 = f32x4.mul(v128.load(p2), factor4);
      const v3 = f32x4.mul(v128.load(p3), factor4);
      const a = v128.shuffle<f32>(v0, v1, 0, 4, 1, 5);
      const b = v128.shuffle<f32>(v2, v3, 0, 4, 1, 5);
      const c = v128.shuffle<f32>(v0, v1, 2, 6, 3, 7);
      const e = v128.shuffle<f32>(v2, v3, 2, 6, 3, 7);
      v128.store(to, v128.shuffle<f32>(a, b, 0, 1, 4, 5));
      v128.store(to, v128.shuffle<f32>(a, b, 2, 3, 6, 7), 64);
      v128.store(to, v128.shuffle<f32>(c, e, 0, 1, 4, 5), 128);
      v128.store(to, v128.shuffle<f32>(c, e, 2, 3, 6, 7), 192);
      p0 += 16;
      p1 += 16;
      p2 += 16;
      p3 += 16;
      to += 256;
    }
    for (; d > 0; d--) {
      v128.store(to, f32x4.mul(f32x4(load<f32>(p0), load<f32>(p1), load<f32>(p2), load<f32>(p3)), factor4));
      p0 += 4;
      p1 += 4;
      p2 += 4;
      p3 += 4;
      to += LINE;
    }
  }
  for (; i < n; i++) {
    let from = rows + <usize>i * stride;
    let to = panel + (<usize>i << 2);
    for (let d = 0; d < E; d++) {
      store<f32>(to, load<f32>(from) * factor);
      from += 4;
      to += LINE;
    }
  }
}

export function panelDot(panel: usize, rows: usize, stride: usize, n: i32, E: i32, out: usize, step: usize): void {
  let r = 0;
  for (; r + 4 <= n; r += 4, rows += stride << 2, out += step << 2) {
    if (wide) {
      tile4x16(rows, stride, 4, panel, LINE, E, out, step, 1, false);
    } else {
      dot4x8(rows, stride, panel, E, out, step);
      dot4x8(rows, stride, panel + 32, E, out + 32, step);
    }
  }
  for (; r < n; r++, rows += stride, out += step) {
    for (let i: usize = 0; i < LINE; i += 32) {
      let p = rows;
      let a0 = f32x4.splat(0), a1 = a0;
      const end = panel + <usize>E * LINE;
      for (let at = panel + i; at < end; at += LINE, p += 4) {
        const s = v128.load32_splat(p);
        a0 = madd(s, v128.load(at), a0);
        a1 = madd(s, v128.load(at, 16), a1);
      }
      v128.store(out + i, a0);
      v128.store(out + i, a1, 16);
    }
  }
}

/** n rows of a panel's scores, `step` bytes apart: x ← cap · tanh(x / cap). */
export function capScores(scores: usize, step: usize, n: i32, cap: f32): void {
  const cap4 = f32x4.splat(cap);
  for (; n > 0; n--, scores += step) {
    for (let i: usize = 0; i < LINE; i += 32) {
      const y0 = softCap4(v128.load(scores + i), cap4);
      const y1 = softCap4(v128.load(scores + i, 16), cap4);
      v128.store(scores + i, y0);
      v128.store(scores + i, y1, 16);
    }
  }
}

/** Eight lanes of a panel against four rows. */
function dot4x8(rows: usize, stride: usize, panel: usize, E: i32, out: usize, step: usize): void {
  let p1 = rows + stride, p2 = p1 + stride, p3 = p2 + stride;
  let a0 = f32x4.splat(0), a1 = a0, b0 = a0, b1 = a0, c0 = a0, c1 = a0, d0 = a0, d1 = a0;
  const end = panel + <usize>E * LINE;
  for (; panel < end; panel += LINE) {
    const x0 = v128.load(panel);
    const x1 = v128.load(panel, 16);
    let s = v128.load32_splat(rows);
    a0 = madd(s, x0, a0);
    a1 = madd(s, x1, a1);
    s = v128.load32_splat(p1);
    b0 = madd(s, x0, b0);
    b1 = madd(s, x1, b1);
    s = v128.load32_splat(p2);
    c0 = madd(s, x0, c0);
    c1 = madd(s, x1, c1);
    s = v128.load32_splat(p3);
    d0 = madd(s, x0, d0);
    d1 = madd(s, x1, d1);
    rows += 4;
    p1 += 4;
    p2 += 4;
    p3 += 4;
  }
  v128.store(out, a0);
  v128.store(out, a1, 16);
  v128.store(out + step, b0);
  v128.store(out + step, b1, 16);
  v128.store(out + 2 * step, c0);
  v128.store(out + 2 * step, c1, 16);
  v128.store(out + 3 * step, d0);
  v128.store(out + 3 * step, d1, 16);
}

/** m ≤ 16 accumulator rows, weights a row of lanes per added row: weights[r · step + i]. */
export function panelAxpy(
  weights: usize, step: usize, rows: usize, stride: usize, n: i32, E: i32, acc: usize, accStride: usize, m: i32,
): void {
  weightedSum(weights, 4, step, rows, stride, n, E, acc, accStride, m);
}

/** The same with weights along memory, a TILE_ROW per accumulator row: weights[i · TILE_ROW + r]. */
export function tileAlong(
  weights: usize, rows: usize, stride: usize, n: i32, E: i32, acc: usize, accStride: usize, m: i32,
): void {
  weightedSum(weights, TILE_ROW, 4, rows, stride, n, E, acc, accStride, m);
}

/** Weight r of accumulator row i lies at weights + i · across + r · along; `across` is a constant: 4 or TILE_ROW. */
// @ts-ignore: decorator
@inline
function weightedSum(
  weights: usize, across: usize, along: usize, rows: usize, stride: usize, n: i32, E: i32,
  acc: usize, accStride: usize, m: i32,
): void {
  const row = <usize>E << 2;
  let i = 0;
  for (; i + 4 <= m; i += 4, weights += across << 2, acc += accStride << 2) {
    let d: usize = 0;
    if (wide) {
      for (; d + 64 <= row; d += 64) tile4x16(weights, across, along, rows + d, stride, n, acc + d, accStride, 1, true);
    }
    for (; d + 32 <= row; d += 32) sum4x8(weights, across, along, rows + d, stride, n, acc + d, accStride);
    if (d < row) {
      for (let x: usize = 0; x < 4; x++) {
        axpyRow(weights + x * across, along, rows + d, stride, n, row - d, acc + x * accStride + d);
      }
    }
  }
  for (; i < m; i++, weights += across, acc += accStride) axpyRow(weights, along, rows, stride, n, row, acc);
}

/** Eight columns of four accumulator rows. Weights lie at constant offsets from one address: fewer additions a step. */
// @ts-ignore: decorator
@inline
function sum4x8(
  w: usize, across: usize, along: usize, from: usize, stride: usize, n: i32, o0: usize, accStride: usize,
): void {
  const o1 = o0 + accStride;
  const o2 = o1 + accStride;
  const o3 = o2 + accStride;
  let a0 = v128.load(o0), a1 = v128.load(o0, 16);
  let b0 = v128.load(o1), b1 = v128.load(o1, 16);
  let c0 = v128.load(o2), c1 = v128.load(o2, 16);
  let d0 = v128.load(o3), d1 = v128.load(o3, 16);
  for (; n > 0; n--) {
    const x0 = v128.load(from);
    const x1 = v128.load(from, 16);
    let s = v128.load32_splat(w);
    a0 = madd(s, x0, a0);
    a1 = madd(s, x1, a1);
    s = across == 4 ? v128.load32_splat(w, 4) : v128.load32_splat(w, TILE_ROW);
    b0 = madd(s, x0, b0);
    b1 = madd(s, x1, b1);
    s = across == 4 ? v128.load32_splat(w, 8) : v128.load32_splat(w, 2 * TILE_ROW);
    c0 = madd(s, x0, c0);
    c1 = madd(s, x1, c1);
    s = across == 4 ? v128.load32_splat(w, 12) : v128.load32_splat(w, 3 * TILE_ROW);
    d0 = madd(s, x0, d0);
    d1 = madd(s, x1, d1);
    from += stride;
    w += along;
  }
  v128.store(o0, a0);
  v128.store(o0, a1, 16);
  v128.store(o1, b0);
  v128.store(o1, b1, 16);
  v128.store(o2, c0);
  v128.store(o2, c1, 16);
  v128.store(o3, d0);
  v128.store(o3, d1, 16);
}

/** One accumulator row of `bytes`: what is left of tiles. */
function axpyRow(weights: usize, step: usize, rows: usize, stride: usize, n: i32, bytes: usize, acc: usize): void {
  const end = acc + bytes;
  for (; acc + 16 <= end; acc += 16, rows += 16) {
    let a = v128.load(acc);
    let from = rows;
    let w = weights;
    for (let r = n; r > 0; r--, from += stride, w += step) a = madd(v128.load32_splat(w), v128.load(from), a);
    v128.store(acc, a);
  }
  for (; acc < end; acc += 4, rows += 4) {
    let a = f32x4.splat(load<f32>(acc));
    let from = rows;
    let w = weights;
    for (let r = n; r > 0; r--, from += stride, w += step) {
      a = madd(v128.load32_splat(w), v128.load32_splat(from), a);
    }
    store<f32>(acc, f32x4.extract_lane(a, 0));
  }
}

/** out[i][d] = acc[i][d] · factor[i] for n ≤ 16 rows; `out` may be `acc`. */
export function panelScale(acc: usize, factors: usize, n: i32, E: i32, out: usize, stride: usize): void {
  const vec = E & ~3;
  for (let i = 0; i < n; i++) {
    const f = load<f32>(factors + (<usize>i << 2));
    const f4 = f32x4.splat(f);
    const from = acc + ((<usize>i * E) << 2);
    const to = out + <usize>i * stride;
    let d = 0;
    for (; d < vec; d += 4) {
      const at = <usize>d << 2;
      v128.store(to + at, f32x4.mul(v128.load(from + at), f4));
    }
    for (; d < E; d++) store<f32>(to + (<usize>d << 2), load<f32>(from + (<usize>d << 2)) * f);
  }
}

/** Dot product of two rows of E. */
// @ts-ignore: decorator
@inline
export function rowDot(a: usize, b: usize, E: i32): f32 {
  const vec = E & ~3;
  let sum4 = f32x4.splat(0);
  let d = 0;
  for (; d < vec; d += 4) sum4 = madd(v128.load(a + (<usize>d << 2)), v128.load(b + (<usize>d << 2)), sum4);
  let sum = hsum(sum4);
  for (; d < E; d++) sum += load<f32>(a + (<usize>d << 2)) * load<f32>(b + (<usize>d << 2));
  return sum;
}

/** out[r] = q · rows[r] for n rows; four rows at a time, lanes along E. */
export function rowDots(q: usize, rows: usize, stride: usize, n: i32, E: i32, out: usize): void {
  const vec = E & ~3;
  let r = 0;
  for (; r + 4 <= n; r += 4) {
    const p1 = rows + stride;
    const p2 = p1 + stride;
    const p3 = p2 + stride;
    let a = f32x4.splat(0), b = a, c = a, e = a;
    let at: usize = 0;
    for (let d = 0; d < vec; d += 4) {
      const x = v128.load(q + at);
      a = madd(x, v128.load(rows + at), a);
      b = madd(x, v128.load(p1 + at), b);
      c = madd(x, v128.load(p2 + at), c);
      e = madd(x, v128.load(p3 + at), e);
      at += 16;
    }
    // Transposed additions: lane i of the sum is the whole sum of the i-th accumulator
    const ab = f32x4.add(
      i8x16.shuffle(a, b, 0, 1, 2, 3, 16, 17, 18, 19, 4, 5, 6, 7, 20, 21, 22, 23),
      i8x16.shuffle(a, b, 8, 9, 10, 11, 24, 25, 26, 27, 12, 13, 14, 15, 28, 29, 30, 31),
    );
    const ce = f32x4.add(
      i8x16.shuffle(c, e, 0, 1, 2, 3, 16, 17, 18, 19, 4, 5, 6, 7, 20, 21, 22, 23),
      i8x16.shuffle(c, e, 8, 9, 10, 11, 24, 25, 26, 27, 12, 13, 14, 15, 28, 29, 30, 31),
    );
    let sum = f32x4.add(
      i8x16.shuffle(ab, ce, 0, 1, 2, 3, 4, 5, 6, 7, 16, 17, 18, 19, 20, 21, 22, 23),
      i8x16.shuffle(ab, ce, 8, 9, 10, 11, 12, 13, 14, 15, 24, 25, 26, 27, 28, 29, 30, 31),
    );
    for (let d = vec; d < E; d++) {
      const tail = f32x4(load<f32>(rows + at), load<f32>(p1 + at), load<f32>(p2 + at), load<f32>(p3 + at));
      sum = madd(v128.load32_splat(q + at), tail, sum);
      at += 4;
    }
    v128.store(out, sum);
    out += 16;
    rows += stride << 2;
  }
  for (; r < n; r++) {
    store<f32>(out, rowDot(q, rows, E));
    out += 4;
    rows += stride;
  }
}

/** acc[d] += Σ_r weights[r] · rows[r][d]: one accumulator row, 16 columns at a time. */
export function rowAxpy(weights: usize, rows: usize, stride: usize, n: i32, E: i32, acc: usize): void {
  const row = <usize>E << 2;
  const last = weights + (<usize>n << 2);
  let d: usize = 0;
  for (; d + 64 <= row; d += 64) {
    const o = acc + d;
    let a = v128.load(o), b = v128.load(o, 16), c = v128.load(o, 32), e = v128.load(o, 48);
    let from = rows + d;
    for (let w = weights; w < last; w += 4) {
      const s = v128.load32_splat(w);
      a = madd(s, v128.load(from), a);
      b = madd(s, v128.load(from, 16), b);
      c = madd(s, v128.load(from, 32), c);
      e = madd(s, v128.load(from, 48), e);
      from += stride;
    }
    v128.store(o, a);
    v128.store(o, b, 16);
    v128.store(o, c, 32);
    v128.store(o, e, 48);
  }
  for (; d < row; d += 4) {
    let a = load<f32>(acc + d);
    let from = rows + d;
    for (let w = weights; w < last; w += 4) {
      a += load<f32>(w) * load<f32>(from);
      from += stride;
    }
    store<f32>(acc + d, a);
  }
}
