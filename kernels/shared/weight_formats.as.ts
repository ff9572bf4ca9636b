/**
 * Widening stored weights to f32 (layouts: engine/dtype.ts). Format codes are dtypes[…].code. Values are exact but for
 * q4_1's one rounding of d·q + m (d·q alone is exact: 11 bits times 4).
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

/**
 * The vector `v` by way of memory at `at`, so that the compiler forgets that it is a constant: V8 keeps it in a
 * register then, where it would build a constant anew at every use (a quarter of the time of a quantised dot product).
 */
// @ts-ignore: decorator
@inline
export function pinned(v: v128, at: usize): v128 {
  v128.store(at, v);
  return v128.load(at);
}

// A binary16 is widened by moving its bits to binary32's places and multiplying by 2^112, the difference of the
// exponents' biases: exact, subnormals included. Weights are finite; infinity and NaN would become 65536 and more.

/** Where sign, exponent and fraction of a sign-extended binary16 are after a shift by 13. */
export const F16_BITS: i32 = 0x8fffe000;
export const F16_REBIAS: f32 = 5.192296858534828e33;

/** The value of a binary16 in memory. */
// @ts-ignore: decorator
@inline
export function loadF16(at: usize): f32 {
  return reinterpret<f32>((<i32>load<i16>(at) << 13) & F16_BITS) * F16_REBIAS;
}

/** Four of them; `bits` and `rebias` are F16_BITS and F16_REBIAS in all lanes, pinned. */
// @ts-ignore: decorator
@inline
export function loadF16x4(at: usize, bits: v128, rebias: v128): v128 {
  return f32x4.mul(v128.and(i32x4.shl(v128.load16x4_s(at), 13), bits), rebias);
}

/** Four bfloat16 values. */
// @ts-ignore: decorator
@inline
export function loadBF16x4(at: usize): v128 {
  return i32x4.shl(v128.load16x4_u(at), 16);
}

/** Places bytes [4·group, 4·group + 4) on top of the four lanes (`bytesToF32`); to be pinned. */
// @ts-ignore: decorator
@inline
export function laneTops(group: i32): v128 {
  const b = <i8>(4 * group);
  return i8x16(-1, -1, -1, b, -1, -1, -1, b + 1, -1, -1, -1, b + 2, -1, -1, -1, b + 3);
}

/**
 * Four signed bytes of v, chosen by `tops`, as f32 times 2^24: one swizzle instead of two widening steps; the block's
 * scale takes the 2^24 back (`blockScale`).
 */
// @ts-ignore: decorator
@inline
export function bytesToF32(v: v128, tops: v128): v128 {
  if (ASC_FEATURE_RELAXED_SIMD) return f32x4.convert_i32x4_s(i8x16.relaxed_swizzle(v, tops));
  else return f32x4.convert_i32x4_s(i8x16.swizzle(v, tops));
}

/** A block's scale for values from `bytesToF32`. */
// @ts-ignore: decorator
@inline
export function blockScale(at: usize): f32 {
  return loadF16(at) * <f32>(1.0 / 16777216.0);
}

/** Elements 0–15 of the block at `at`, as signed bytes … */
// @ts-ignore: decorator
@inline
export function firstBytes(format: i32, at: usize, fifteen: v128, eight: v128): v128 {
  if (format == Q4_0) return i8x16.sub(v128.and(v128.load(at, 2), fifteen), eight);
  if (format == Q4_1) return v128.and(v128.load(at, 4), fifteen);
  return v128.load(at, 2);
}

/** … and 16–31. */
// @ts-ignore: decorator
@inline
export function lastBytes(format: i32, at: usize, fifteen: v128, eight: v128): v128 {
  if (format == Q4_0) return i8x16.sub(v128.and(i32x4.shr_u(v128.load(at, 2), 4), fifteen), eight);
  if (format == Q4_1) return v128.and(i32x4.shr_u(v128.load(at, 4), 4), fifteen);
  return v128.load(at, 18);
}

// @ts-ignore: decorator
@inline
function widenBlocksOf(
  format: i32, at: usize, stride: usize, blocks: i32, out: usize, near: usize, far: usize, step: usize,
): void {
  // Pinned where the result will be.
  const t0 = pinned(laneTops(0), out);
  const t1 = pinned(laneTops(1), out);
  const t2 = pinned(laneTops(2), out);
  const t3 = pinned(laneTops(3), out);
  const fifteen = pinned(i8x16.splat(15), out);
  const eight = pinned(i8x16.splat(8), out);
  for (; blocks > 0; blocks--, out += step, at += stride) {
    const scale = f32x4.splat(blockScale(at));
    const offset = format == Q4_1 ? f32x4.splat(loadF16(at + 2)) : f32x4.splat(0);
    const first = firstBytes(format, at, fifteen, eight);
    store8(out, first, t0, t1, format, scale, offset);
    store8(out + near, first, t2, t3, format, scale, offset);
    const last = lastBytes(format, at, fifteen, eight);
    store8(out + far, last, t0, t1, format, scale, offset);
    store8(out + far + near, last, t2, t3, format, scale, offset);
  }
}

/** Eight elements: scale · byte, plus the offset that only q4_1 has. */
// @ts-ignore: decorator
@inline
function store8(out: usize, v: v128, t0: v128, t1: v128, format: i32, scale: v128, offset: v128): void {
  let a = f32x4.mul(bytesToF32(v, t0), scale);
  let b = f32x4.mul(bytesToF32(v, t1), scale);
  if (format == Q4_1) {
    a = f32x4.add(a, offset);
    b = f32x4.add(b, offset);
  }
  v128.store(out, a);
  v128.store(out, b, 16);
}

/**
 * Widens `blocks` blocks of a block format, `stride` bytes apart. Each gives four groups of eight floats: two `near`
 * bytes apart, `far` bytes on two more. Those of the next block follow `step` bytes after.
 */
export function widenBlocks(
  format: i32, at: usize, stride: usize, blocks: i32, out: usize, near: usize, far: usize, step: usize,
): void {
  if (format == Q4_0) widenBlocksOf(Q4_0, at, stride, blocks, out, near, far, step);
  else if (format == Q4_1) widenBlocksOf(Q4_1, at, stride, blocks, out, near, far, step);
  else widenBlocksOf(Q8_0, at, stride, blocks, out, near, far, step);
}

/**
 * Writes elements [element, element + count) of the weight at `base` as f32. In block formats both are multiples
 * of 32. `element` is unsigned: it may pass 2³¹.
 */
export function widen_row(format: i32, base: usize, element: usize, count: i32, out: usize): void {
  if (format >= Q4_0) {
    const bytes = blockBytes(format);
    widenBlocks(format, base + (element >> 5) * bytes, bytes, count >> 5, out, 32, 64, 128);
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
    if (out < vec) {
      const bits = pinned(i32x4.splat(F16_BITS), out);
      const rebias = pinned(f32x4.splat(F16_REBIAS), out);
      for (; out < vec; out += 16, at += 8) v128.store(out, loadF16x4(at, bits, rebias));
    }
    for (; out < end; out += 4, at += 2) store<f32>(out, loadF16(at));
  } else {
    for (; out < vec; out += 16, at += 8) v128.store(out, loadBF16x4(at));
    for (; out < end; out += 4, at += 2) store<u32>(out, <u32>load<u16>(at) << 16);
  }
}
