/**
 * Blocked matrix product: c[R, C] (+)= alpha · Σ_d A[r, d] · B[d, c], tile by tile. A tile walks the depth in blocks; of
 * each block it packs B into panels [d][8 columns], widening weights on the way, then takes A strip by strip, packed into
 * panels [d][4 rows], past all panels of B. A 4 × 8 micro-kernel keeps its 32 sums in eight registers. The
 * layouts differ in packing alone.
 */
import { madd } from "../shared/simd.as";
import {
  F16, F16_BITS, F16_REBIAS, F32, Q4_0,
  blockBytes, loadBF16x4, loadF16x4, pinned, widenBlocks, widen_row,
} from "../shared/weight_formats.as";
import { MAX_COLS, tile } from "./tiles.as";

/** An operand whose depth runs along memory (rows of it are dotted) … */
export const ALONG = true;
/** … or across it (its rows follow each other in depth). */
export const ACROSS = false;

/** Rows of A in a strip: packed, they fit the first-level cache beside a panel of B. */
const STRIP = 16;
/** Where rows of A lie across memory, a strip takes more of each line of it: the second-level cache must do. */
const STRIP_ACROSS = 64;
/** Depth of a block: a strip of A and a panel of B fit the first-level cache, a tile's panels of B the second. */
const DEPTH = 256;
/** Bytes between panels' ends and starts: keeps panels of power-of-two size off the same cache sets. */
const GAP = 64;

// Scratch (tiles.ts: TILE_SCRATCH): packed strip of A, packed B, eight widened rows, one output micro-tile.
const B_AT: usize = (STRIP_ACROSS / 4) * (DEPTH * 16 + GAP);
const ROWS_AT: usize = B_AT + (MAX_COLS / 8) * (DEPTH * 32 + GAP);
const TILE_AT: usize = ROWS_AT + 8 * DEPTH * 4;

export function gemm(
  layoutA: boolean, layoutB: boolean,
  a: usize, b: usize, c: usize,
  R: i32, C: i32, D: i32, strideA: i32, strideB: i32,
  alpha: f32, accumulate: boolean, format: i32,
  begin: i32, end: i32, scratch: usize,
): void {
  const size = tile(R, C);
  const rows = size >> 16;
  const cols = size & 0xffff;
  const across = (C + cols - 1) / cols;
  const blocks = max((D + DEPTH - 1) / DEPTH, 1);
  // Even blocks, starting on multiples of 32: block formats cannot be entered elsewhere.
  const depth = ((D + blocks - 1) / blocks + 31) & ~31;
  const strip = layoutA ? STRIP : STRIP_ACROSS;
  for (let unit = begin; unit < end; unit++) {
    const r0 = (unit / across) * rows;
    const c0 = (unit % across) * cols;
    const r1 = min(r0 + rows, R);
    const c1 = min(c0 + cols, C);
    for (let d0 = 0; d0 < D; d0 += depth) {
      const d1 = min(d0 + depth, D);
      const more = accumulate || d0 > 0;
      if (layoutB) packB_along(b, strideB, format, c0, c1, d0, d1, scratch);
      else packB_across(b, strideB, format, c0, c1, d0, d1, scratch);
      for (let r = r0; r < r1; r += strip) {
        const last = min(r + strip, r1);
        if (layoutA) packA_along(a, strideA, r, last, d0, d1, scratch);
        else packA_across(a, strideA, r, last, d0, d1, scratch);
        multiply(c, C, r, last, c0, c1, d1 - d0, alpha, more, scratch);
      }
    }
  }
}

/** All micro-tiles of a strip for one depth block. */
function multiply(
  c: usize, C: i32, r0: i32, r1: i32, c0: i32, c1: i32, depth: i32,
  alpha: f32, accumulate: boolean, scratch: usize,
): void {
  const temp = scratch + TILE_AT;
  const stride = <usize>C << 2;
  let panelB = scratch + B_AT;
  for (let col = c0; col < c1; col += 8, panelB += (<usize>depth << 5) + GAP) {
    let panelA = scratch;
    for (let row = r0; row < r1; row += 4, panelA += (<usize>depth << 4) + GAP) {
      const out = c + (<usize>row * C + col << 2);
      if (row + 4 <= r1 && col + 8 <= c1) {
        micro(panelA, panelB, depth, out, stride, alpha, accumulate);
      } else {
        micro(panelA, panelB, depth, temp, 32, alpha, false);
        copyEdge(temp, out, stride, min(4, r1 - row), min(8, c1 - col), accumulate);
      }
    }
  }
}

function copyEdge(from: usize, out: usize, stride: usize, rows: i32, cols: i32, accumulate: boolean): void {
  for (let r = 0; r < rows; r++, from += 32, out += stride) {
    for (let i: usize = 0; i < <usize>cols << 2; i += 4) {
      store<f32>(out + i, load<f32>(from + i) + (accumulate ? load<f32>(out + i) : 0));
    }
  }
}

/**
 * 4 × 8 sums over `depth` ≥ 1 steps, two to a turn of the loop. V8 moves a basic block's loads before its arithmetic: more
 * steps in one block would need more than its 15 vector registers. The exit between them, which an odd depth needs
 * anyway, makes them blocks of their own. Lanes of one load cost less than four loads that spread (README.md).
 */
function micro(a: usize, b: usize, depth: i32, out: usize, stride: usize, alpha: f32, accumulate: boolean): void {
  let c00 = f32x4.splat(0), c01 = f32x4.splat(0);
  let c10 = f32x4.splat(0), c11 = f32x4.splat(0);
  let c20 = f32x4.splat(0), c21 = f32x4.splat(0);
  let c30 = f32x4.splat(0), c31 = f32x4.splat(0);
  const end = a + (<usize>depth << 4);
  const last = end - 16;
  for (;;) {
    let v = v128.load(a);
    let b0 = v128.load(b);
    let b1 = v128.load(b, 16);
    let x = v128.shuffle<f32>(v, v, 0, 0, 0, 0);
    c00 = madd(x, b0, c00);
    c01 = madd(x, b1, c01);
    x = v128.shuffle<f32>(v, v, 1, 1, 1, 1);
    c10 = madd(x, b0, c10);
    c11 = madd(x, b1, c11);
    x = v128.shuffle<f32>(v, v, 2, 2, 2, 2);
    c20 = madd(x, b0, c20);
    c21 = madd(x, b1, c21);
    x = v128.shuffle<f32>(v, v, 3, 3, 3, 3);
    c30 = madd(x, b0, c30);
    c31 = madd(x, b1, c31);
    if (a == last) break;
    v = v128.load(a, 16);
    b0 = v128.load(b, 32);
    b1 = v128.load(b, 48);
    x = v128.shuffle<f32>(v, v, 0, 0, 0, 0);
    c00 = madd(x, b0, c00);
    c01 = madd(x, b1, c01);
    x = v128.shuffle<f32>(v, v, 1, 1, 1, 1);
    c10 = madd(x, b0, c10);
    c11 = madd(x, b1, c11);
    x = v128.shuffle<f32>(v, v, 2, 2, 2, 2);
    c20 = madd(x, b0, c20);
    c21 = madd(x, b1, c21);
    x = v128.shuffle<f32>(v, v, 3, 3, 3, 3);
    c30 = madd(x, b0, c30);
    c31 = madd(x, b1, c31);
    a += 32;
    b += 64;
    if (a == end) break;
  }
  const scale = f32x4.splat(alpha);
  put(out, c00, c01, scale, accumulate);
  put(out + stride, c10, c11, scale, accumulate);
  put(out + 2 * stride, c20, c21, scale, accumulate);
  put(out + 3 * stride, c30, c31, scale, accumulate);
}

// @ts-ignore: decorator
@inline
function put(out: usize, low: v128, high: v128, scale: v128, accumulate: boolean): void {
  if (accumulate) {
    v128.store(out, madd(low, scale, v128.load(out)));
    v128.store(out, madd(high, scale, v128.load(out, 16)), 16);
  } else {
    v128.store(out, f32x4.mul(low, scale));
    v128.store(out, f32x4.mul(high, scale), 16);
  }
}

/** Four vectors of four consecutive depths, transposed and stored `step` bytes apart. */
// @ts-ignore: decorator
@inline
function transpose(v0: v128, v1: v128, v2: v128, v3: v128, out: usize, step: usize): void {
  const a = v128.shuffle<f32>(v0, v1, 0, 4, 1, 5);
  const b = v128.shuffle<f32>(v2, v3, 0, 4, 1, 5);
  const c = v128.shuffle<f32>(v0, v1, 2, 6, 3, 7);
  const d = v128.shuffle<f32>(v2, v3, 2, 6, 3, 7);
  v128.store(out, v128.shuffle<f32>(a, b, 0, 1, 4, 5));
  v128.store(out + step, v128.shuffle<f32>(a, b, 2, 3, 6, 7));
  v128.store(out + 2 * step, v128.shuffle<f32>(c, d, 0, 1, 4, 5));
  v128.store(out + 3 * step, v128.shuffle<f32>(c, d, 2, 3, 6, 7));
}

/** Interleaves four rows of `depth` floats: out[d · step + i] = row_i[d]. */
// @ts-ignore: decorator
@inline
function interleave(x0: usize, x1: usize, x2: usize, x3: usize, depth: i32, out: usize, step: usize): void {
  const end = x0 + (<usize>depth << 2);
  const vec = x0 + (<usize>(depth & ~3) << 2);
  for (; x0 < vec; x0 += 16, x1 += 16, x2 += 16, x3 += 16, out += 4 * step) {
    transpose(v128.load(x0), v128.load(x1), v128.load(x2), v128.load(x3), out, step);
  }
  for (; x0 < end; x0 += 4, x1 += 4, x2 += 4, x3 += 4, out += step) {
    store<f32>(out, load<f32>(x0));
    store<f32>(out, load<f32>(x1), 4);
    store<f32>(out, load<f32>(x2), 8);
    store<f32>(out, load<f32>(x3), 12);
  }
}

/** Rows past the last repeat it: the sums they give are dropped. */
function packA_along(a: usize, stride: i32, r0: i32, r1: i32, d0: i32, d1: i32, out: usize): void {
  const depth = d1 - d0;
  const last = r1 - 1;
  for (let r = r0; r < r1; r += 4, out += (<usize>depth << 4) + GAP) {
    const x0 = a + (<usize>r * stride + d0 << 2);
    const x1 = a + (<usize>min(r + 1, last) * stride + d0 << 2);
    const x2 = a + (<usize>min(r + 2, last) * stride + d0 << 2);
    const x3 = a + (<usize>min(r + 3, last) * stride + d0 << 2);
    interleave(x0, x1, x2, x3, depth, out, 16);
  }
}

/** Line by line of a: a row of it goes to all panels of the strip. */
function packA_across(a: usize, stride: i32, r0: i32, r1: i32, d0: i32, d1: i32, out: usize): void {
  const panel = (<usize>(d1 - d0) << 4) + GAP;
  const step = <usize>stride << 2;
  let row = a + (<usize>d0 * stride + r0 << 2);
  for (let d = d0; d < d1; d++, row += step, out += 16) {
    let at = row;
    let to = out;
    let r = r0;
    for (; r + 16 <= r1; r += 16, at += 64, to += 4 * panel) {
      v128.store(to, v128.load(at));
      v128.store(to + panel, v128.load(at, 16));
      v128.store(to + 2 * panel, v128.load(at, 32));
      v128.store(to + 3 * panel, v128.load(at, 48));
    }
    for (; r + 4 <= r1; r += 4, at += 16, to += panel) v128.store(to, v128.load(at));
    if (r < r1) copyPart(at, r1 - r, 4, to);
  }
}

/** `count` floats, then zeros up to `width`. */
function copyPart(from: usize, count: i32, width: i32, out: usize): void {
  for (let i = 0; i < width; i++) store<f32>(out + (<usize>i << 2), i < count ? load<f32>(from + (<usize>i << 2)) : 0);
}

function packB_along(
  b: usize, stride: i32, format: i32, c0: i32, c1: i32, d0: i32, d1: i32, scratch: usize,
): void {
  const depth = d1 - d0;
  const row = <usize>depth << 2;
  const last = c1 - 1;
  let out = scratch + B_AT;
  for (let c = c0; c < c1; c += 8, out += (<usize>depth << 5) + GAP) {
    for (let half = 0; half < 8; half += 4) {
      const e0 = <usize>min(c + half, last) * stride + d0;
      const e1 = <usize>min(c + half + 1, last) * stride + d0;
      const e2 = <usize>min(c + half + 2, last) * stride + d0;
      const e3 = <usize>min(c + half + 3, last) * stride + d0;
      let x0 = b + (e0 << 2);
      let x1 = b + (e1 << 2);
      let x2 = b + (e2 << 2);
      let x3 = b + (e3 << 2);
      if (format != F32) {
        x0 = scratch + ROWS_AT;
        x1 = x0 + row;
        x2 = x1 + row;
        x3 = x2 + row;
        widen_row(format, b, e0, depth, x0);
        widen_row(format, b, e1, depth, x1);
        widen_row(format, b, e2, depth, x2);
        widen_row(format, b, e3, depth, x3);
      }
      interleave(x0, x1, x2, x3, depth, out + (<usize>half << 2), 32);
    }
  }
}

/** Floats row by row, to all panels; other formats 32 columns at a time, which are a block. */
function packB_across(
  b: usize, stride: i32, format: i32, c0: i32, c1: i32, d0: i32, d1: i32, scratch: usize,
): void {
  const depth = d1 - d0;
  const panel = (<usize>depth << 5) + GAP;
  let out = scratch + B_AT;
  if (format == F32) {
    let row = b + (<usize>d0 * stride + c0 << 2);
    for (let d = d0; d < d1; d++, row += <usize>stride << 2, out += 32) {
      let at = row;
      let to = out;
      let c = c0;
      for (; c + 8 <= c1; c += 8, at += 32, to += panel) {
        v128.store(to, v128.load(at));
        v128.store(to, v128.load(at, 16), 16);
      }
      if (c < c1) copyPart(at, c1 - c, 8, to);
    }
    return;
  }
  let c = c0;
  for (; c + 32 <= c1; c += 32, out += 4 * panel) {
    const element = <usize>d0 * stride + c;
    if (format >= Q4_0) {
      const bytes = blockBytes(format);
      widenBlocks(format, b + (element >> 5) * bytes, (<usize>stride >> 5) * bytes, depth, out, panel, 32);
    } else {
      spread(format, b + (element << 1), <usize>stride, depth, out, panel);
    }
  }
  if (c == c1) return;
  const row = scratch + ROWS_AT;
  for (let d = 0; d < depth; d++) {
    widen_row(format, b, <usize>(d0 + d) * stride + c, c1 - c, row);
    let to = out + (<usize>d << 5);
    for (let i = c; i < c1; i += 8, to += panel) copyPart(row + (<usize>(i - c) << 2), min(8, c1 - i), 8, to);
  }
}

/** Widens 32 columns of `depth` rows, `stride` elements of two bytes apart, into four panels. */
function spread(format: i32, at: usize, stride: usize, depth: i32, out: usize, panel: usize): void {
  const end = out + (<usize>depth << 5);
  if (format == F16) {
    const bits = pinned(i32x4.splat(F16_BITS), out);
    const rebias = pinned(f32x4.splat(F16_REBIAS), out);
    for (; out < end; out += 32, at += stride << 1) {
      for (let i: usize = 0, to = out; i < 64; i += 16, to += panel) {
        v128.store(to, loadF16x4(at + i, bits, rebias));
        v128.store(to, loadF16x4(at + i + 8, bits, rebias), 16);
      }
    }
  } else {
    for (; out < end; out += 32, at += stride << 1) {
      for (let i: usize = 0, to = out; i < 64; i += 16, to += panel) {
        v128.store(to, loadBF16x4(at + i));
        v128.store(to, loadBF16x4(at + i + 8), 16);
      }
    }
  }
}
