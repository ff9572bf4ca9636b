/**
 * Packing for the blocked product: rows of A into panels [depth][4 rows], columns of B into panels [depth][8 or 16
 * columns], widened to f32. Panels end on a gap that keeps those of power-of-two size off the same cache sets.
 */
import { F32, widenLines, widenRow } from "../build/formats.as";
import { wide } from "../shared/wide.as";
import { B_AT, GAP, ROWS_AT, TILE_AT } from "./tiles.both";

/** Columns in a panel of B. */
// @ts-ignore: decorator
@inline
export function panelColumns(): i32 {
  return wide ? 16 : 8;
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
export function packA_along(a: usize, stride: i32, r0: i32, r1: i32, d0: i32, d1: i32, out: usize): void {
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
export function packA_across(a: usize, stride: i32, r0: i32, r1: i32, d0: i32, d1: i32, out: usize): void {
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

/** Columns past the last repeat it. */
export function packB_along(
  b: usize, stride: i32, format: i32, c0: i32, c1: i32, d0: i32, d1: i32, scratch: usize,
): void {
  const depth = d1 - d0;
  const row = <usize>depth << 2;
  const last = c1 - 1;
  const width = panelColumns();
  const line = <usize>width << 2;
  let out = scratch + B_AT;
  for (let c = c0; c < c1; c += width, out += <usize>depth * line + GAP) {
    for (let four = 0; four < width; four += 4) {
      const e0 = <usize>min(c + four, last) * stride + d0;
      const e1 = <usize>min(c + four + 1, last) * stride + d0;
      const e2 = <usize>min(c + four + 2, last) * stride + d0;
      const e3 = <usize>min(c + four + 3, last) * stride + d0;
      let x0 = b + (e0 << 2);
      let x1 = b + (e1 << 2);
      let x2 = b + (e2 << 2);
      let x3 = b + (e3 << 2);
      if (format != F32) {
        x0 = scratch + ROWS_AT;
        x1 = x0 + row;
        x2 = x1 + row;
        x3 = x2 + row;
        widenRow(format, b, e0, depth, x0, scratch + TILE_AT);
        widenRow(format, b, e1, depth, x1, scratch + TILE_AT);
        widenRow(format, b, e2, depth, x2, scratch + TILE_AT);
        widenRow(format, b, e3, depth, x3, scratch + TILE_AT);
      }
      interleave(x0, x1, x2, x3, depth, out + (<usize>four << 2), line);
    }
  }
}

/** Floats row by row, to all panels; other formats 32 columns at a time. Past the last column: 0. */
export function packB_across(
  b: usize, stride: i32, format: i32, c0: i32, c1: i32, d0: i32, d1: i32, scratch: usize,
): void {
  const depth = d1 - d0;
  const width = panelColumns();
  const line = <usize>width << 2;
  const panel = <usize>depth * line + GAP;
  let out = scratch + B_AT;
  if (format == F32) {
    let row = b + (<usize>d0 * stride + c0 << 2);
    for (let d = d0; d < d1; d++, row += <usize>stride << 2, out += line) copyLine(row, c1 - c0, width, out, panel);
    return;
  }
  // Groups of eight columns that share a panel lie side by side
  const near = width == 16 ? 32 : panel;
  const far = width == 16 ? panel : 2 * panel;
  let c = c0;
  const from = <usize>d0 * stride;
  for (; c + 32 <= c1; c += 32, out += 2 * far) {
    widenLines(format, b, from + c, <usize>stride, depth, out, near, far, line, scratch + TILE_AT);
  }
  if (c == c1) return;
  const row = scratch + ROWS_AT;
  for (let d = 0; d < depth; d++, out += line) {
    widenRow(format, b, <usize>(d0 + d) * stride + c, c1 - c, row, scratch + TILE_AT);
    copyLine(row, c1 - c, width, out, panel);
  }
}

/** `count` floats to the same line of as many panels as they fill. */
function copyLine(from: usize, count: i32, width: i32, out: usize, panel: usize): void {
  for (; count >= width; count -= width, out += panel) {
    for (let i = 0; i < width; i += 8, from += 32) {
      const at = out + (<usize>i << 2);
      v128.store(at, v128.load(from));
      v128.store(at, v128.load(from, 16), 16);
    }
  }
  if (count > 0) copyPart(from, count, width, out);
}
