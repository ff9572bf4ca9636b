/**
 * Widening stored weights to f32 (layouts: engine/dtype.ts). Format codes are dtypes[…].code. All values are exact but
 * for q4_1's one rounding of d·q + m.
 */

export const F32 = 0;
export const F16 = 1;
export const BF16 = 2;
export const Q4_0 = 3;
export const Q4_1 = 4;
export const Q8_0 = 5;

/** Bytes of a block of 32 elements. */
// @ts-ignore: decorator
@inline
export function blockBytes(format: i32): usize {
  return format == Q4_0 ? 18 : format == Q4_1 ? 20 : 34;
}

/** 2^112: moves a binary16 exponent, read as if it were binary32's, to its place; subnormals included. */
// @ts-ignore: decorator
@inline
const REBIAS: f32 = 5.192296858534828e33;

/** The value of a binary16 in memory. */
// @ts-ignore: decorator
@inline
export function loadF16(at: usize): f32 {
  const value = reinterpret<f32>((<i32>load<i16>(at) << 13) & 0x8fffe000) * REBIAS;
  const special = select<u32>(0x7f800000, 0, abs(value) >= 65536); // infinity, NaN
  return reinterpret<f32>(reinterpret<u32>(value) | special);
}

/** Four binary16 values. */
// @ts-ignore: decorator
@inline
export function loadF16x4(at: usize): v128 {
  const bits = v128.and(i32x4.shl(v128.load16x4_s(at), 13), i32x4.splat(0x8fffe000));
  const value = f32x4.mul(bits, f32x4.splat(REBIAS));
  const special = f32x4.ge(f32x4.abs(value), f32x4.splat(65536));
  return v128.or(value, v128.and(special, i32x4.splat(0x7f800000)));
}

/** Four bfloat16 values. */
// @ts-ignore: decorator
@inline
export function loadBF16x4(at: usize): v128 {
  return i32x4.shl(v128.load16x4_u(at), 16);
}

/**
 * Bytes [4·group, 4·group + 4) of v as f32 of the signed byte times 2^24: one swizzle puts each byte on top of a lane,
 * which spares the two widening steps; the scale takes the 2^-24 back (`blockScale`).
 */
// @ts-ignore: decorator
@inline
export function bytesToF32(v: v128, group: i32): v128 {
  const b = <i8>(4 * group);
  const lanes = i8x16(-1, -1, -1, b, -1, -1, -1, b + 1, -1, -1, -1, b + 2, -1, -1, -1, b + 3);
  if (ASC_FEATURE_RELAXED_SIMD) return f32x4.convert_i32x4_s(i8x16.relaxed_swizzle(v, lanes));
  else return f32x4.convert_i32x4_s(i8x16.swizzle(v, lanes));
}

/** A block's scale for values from `bytesToF32`; exact, d being a binary16. */
// @ts-ignore: decorator
@inline
export function blockScale(at: usize): f32 {
  return loadF16(at) * <f32>(1.0 / 16777216.0);
}

// @ts-ignore: decorator
@inline
export function lowNibbles(v: v128): v128 {
  return v128.and(v, i8x16.splat(15));
}

// @ts-ignore: decorator
@inline
export function highNibbles(v: v128): v128 {
  return i8x16.shr_u(v, 4);
}

/** Writes 16 elements, scale · byte + offset: eight at `out`, eight `gap` bytes further. */
// @ts-ignore: decorator
@inline
function store16(v: v128, scale: v128, offset: v128, out: usize, gap: usize): void {
  v128.store(out, f32x4.add(f32x4.mul(bytesToF32(v, 0), scale), offset));
  v128.store(out, f32x4.add(f32x4.mul(bytesToF32(v, 1), scale), offset), 16);
  v128.store(out + gap, f32x4.add(f32x4.mul(bytesToF32(v, 2), scale), offset));
  v128.store(out + gap, f32x4.add(f32x4.mul(bytesToF32(v, 3), scale), offset), 16);
}

/**
 * Widens `blocks` blocks of a block format, `stride` bytes apart. Each gives four groups of eight floats, `gap` bytes
 * apart; those of the next block follow `step` bytes after.
 */
export function widenBlocks(
  format: i32, at: usize, stride: usize, blocks: i32, out: usize, gap: usize, step: usize,
): void {
  const zero = f32x4.splat(0);
  if (format == Q4_0) {
    const eight = i8x16.splat(8);
    for (; blocks > 0; blocks--, out += step, at += stride) {
      const scale = f32x4.splat(blockScale(at));
      const q = v128.load(at, 2);
      store16(i8x16.sub(lowNibbles(q), eight), scale, zero, out, gap);
      store16(i8x16.sub(highNibbles(q), eight), scale, zero, out + 2 * gap, gap);
    }
  } else if (format == Q4_1) {
    for (; blocks > 0; blocks--, out += step, at += stride) {
      const scale = f32x4.splat(blockScale(at));
      const low = f32x4.splat(loadF16(at + 2));
      const q = v128.load(at, 4);
      store16(lowNibbles(q), scale, low, out, gap);
      store16(highNibbles(q), scale, low, out + 2 * gap, gap);
    }
  } else {
    for (; blocks > 0; blocks--, out += step, at += stride) {
      const scale = f32x4.splat(blockScale(at));
      store16(v128.load(at, 2), scale, zero, out, gap);
      store16(v128.load(at, 18), scale, zero, out + 2 * gap, gap);
    }
  }
}

/**
 * Writes elements [element, element + count) of the weight at `base` as f32. In block formats both are multiples
 * of 32. `element` is unsigned: it may pass 2³¹.
 */
export function widen_row(format: i32, base: usize, element: usize, count: i32, out: usize): void {
  if (format >= Q4_0) {
    const bytes = blockBytes(format);
    widenBlocks(format, base + (element >> 5) * bytes, bytes, count >> 5, out, 32, 128);
    return;
  }
  if (format == F32) {
    memory.copy(out, base + (element << 2), <usize>count << 2);
    return;
  }
  let at = base + (element << 1);
  const end = out + (<usize>count << 2);
  const vec = out + (<usize>(count & ~3) << 2);
  if (format == F16) {
    for (; out < vec; out += 16, at += 8) v128.store(out, loadF16x4(at));
    for (; out < end; out += 4, at += 2) store<f32>(out, loadF16(at));
  } else {
    for (; out < vec; out += 16, at += 8) v128.store(out, loadBF16x4(at));
    for (; out < end; out += 4, at += 2) store<u32>(out, <u32>load<u16>(at) << 16);
  }
}
