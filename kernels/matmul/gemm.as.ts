/**
 * Blocked matrix product: c[R, C] (+)= alpha · Σ_d A[r, d] · B[d, c], tile by tile. A tile walks the depth in blocks; of
 * each block it packs B into panels, widening weights on the way, then takes A strip by strip, packed into panels of
 * four rows, past all panels of B (pack.as.ts). Panels of B have 8 columns, for a micro-kernel that keeps 4 × 8 sums in
 * eight registers; or 16, where the engine pairs them (shared/wide.as.ts). The layouts differ in packing alone.
 */
import { madd } from "../shared/simd.as";
import { tile4x16, wide } from "../shared/wide.as";
import { packA_across, packA_along, packB_across, packB_along, panelColumns } from "./pack.as";
import { B_AT, DEPTH, GAP, STRIP_ACROSS, TILE_AT, tile } from "./tiles.both";

/** Rows of A in a strip: packed, they fit the first-level cache beside a narrow panel of B. */
const STRIP = 16;
/** In place of a stride: A is packed. */
const PACKED: i32 = 0;

/**
 * Tiles [begin, end) of c. A [R, D] and B [D, C] lie as the classes A and B say (forms.as.ts), rows of B's weight in `format`;
 * Out says whether c is added to.
 */
export function gemm<A, B, Out>(
  a: usize, b: usize, c: usize, R: i32, C: i32, D: i32, alpha: f32, format: i32,
  begin: i32, end: i32, scratch: usize,
): void {
  const alongA = changetype<A>(0).along;
  const alongB = changetype<B>(0).along;
  const accumulate = changetype<Out>(0).accumulate;
  const strideA = alongA ? D : R;
  const strideB = alongB ? D : C;
  const size = <i32>tile(R, C);
  const rows = size >> 16;
  const cols = size & 0xffff;
  const across = (C + cols - 1) / cols;
  const blocks = max((D + DEPTH - 1) / DEPTH, 1);
  // Even blocks, starting on multiples of 32: block formats cannot be entered elsewhere.
  const depth = ((D + blocks - 1) / blocks + 31) & ~31;
  const strip = alongA ? STRIP : STRIP_ACROSS;
  for (let unit = begin; unit < end; unit++) {
    const r0 = (unit / across) * rows;
    const c0 = (unit % across) * cols;
    const r1 = min(r0 + rows, R);
    const c1 = min(c0 + cols, C);
    for (let d0 = 0; d0 < D; d0 += depth) {
      const d1 = min(d0 + depth, D);
      const more = accumulate || d0 > 0;
      if (alongB) packB_along(b, strideB, format, c0, c1, d0, d1, scratch);
      else packB_across(b, strideB, format, c0, c1, d0, d1, scratch);
      let r = r0;
      let out = c + (<usize>r0 * C + c0 << 2);
      if (alongA && wide) {
        // Groups of four rows are read where they lie: tile4x16 needs an address for each row anyway. A wide panel of B
        // fills half the first-level cache: it stays there, and A streams past it.
        r = r1 - (r1 - r0) % 4;
        multiply(a + (<usize>r0 * D + d0 << 2), D, out, C, r - r0, c1 - c0, d1 - d0, alpha, more, scratch);
        out += <usize>(r - r0) * C << 2;
      }
      for (; r < r1; r += strip, out += <usize>strip * C << 2) {
        const last = min(r + strip, r1);
        if (alongA) packA_along(a, strideA, r, last, d0, d1, scratch);
        else packA_across(a, strideA, r, last, d0, d1, scratch);
        multiply(scratch, PACKED, out, C, last - r, c1 - c0, d1 - d0, alpha, more, scratch);
      }
    }
  }
}

/**
 * All micro-tiles of `rows` × `cols` outputs at c, whose rows are C floats apart, for one depth block. The rows of A are packed
 * at a, or lie there `strideA` floats apart.
 */
function multiply(
  a: usize, strideA: i32, c: usize, C: i32, rows: i32, cols: i32, depth: i32,
  alpha: f32, accumulate: boolean, scratch: usize,
): void {
  // In bytes: from one row of A to the next, from one depth to the next, from four rows to the next four.
  const rowA: usize = strideA == PACKED ? 4 : <usize>strideA << 2;
  const stepA: usize = strideA == PACKED ? 16 : 4;
  const panel = strideA == PACKED ? (<usize>depth << 4) + GAP : rowA << 2;
  const temp = scratch + TILE_AT;
  const stride = <usize>C << 2;
  const width = panelColumns();
  const lineB = <usize>width << 2;
  let panelB = scratch + B_AT;
  for (let col = 0; col < cols; col += width, panelB += <usize>depth * lineB + GAP) {
    let panelA = a;
    for (let row = 0; row < rows; row += 4, panelA += panel) {
      const out = c + (<usize>row * C + col << 2);
      const whole = row + 4 <= rows && col + width <= cols;
      const to = whole ? out : temp;
      const step = whole ? stride : lineB;
      const add = whole && accumulate;
      if (wide) tile4x16(panelA, rowA, stepA, panelB, 64, depth, to, step, alpha, add);
      else tile4x8(panelA, panelB, depth, to, step, alpha, add);
      if (!whole) copyEdge(temp, lineB, out, stride, min(4, rows - row), min(width, cols - col), accumulate);
    }
  }
}

function copyEdge(
  from: usize, line: usize, out: usize, stride: usize, rows: i32, cols: i32, accumulate: boolean,
): void {
  for (let r = 0; r < rows; r++, from += line, out += stride) {
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
function tile4x8(a: usize, b: usize, depth: i32, out: usize, stride: usize, alpha: f32, accumulate: boolean): void {
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
