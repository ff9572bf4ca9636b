/**
 * One row of a, as digits, dotted with rows of blocks of eight groups (a class B as in pairs.as.ts), each half of which has a small whole scale: in
 * integers, scales included, so that a block's sum is exact and becomes a float once. Each 256 activations become X · step with integers |X| < 2²³ (a
 * float's own precision at their largest element), and each X three signed digits of 8 bits. What rounding to X loses is at most 2⁻²⁴ of that
 * largest element for each of the 256; a sum in f32 loses as much again with each element.
 */
import { hmax, hsum, madd, pinned, putSum } from "../shared/simd.as";
import { LEAST, digitOfHalf } from "./digits.as";

/** 127·2¹⁶ + what rounding may add. */
const LIMIT: f32 = 8355000;
const DIGIT: i32 = 8;

// A block's digits in bytes. The groups are in the order in which they are taken: pair by pair.
/** a0, a1, a2 of the 32 elements of a group. */
const GROUP: usize = 96;
/** Minus the sum of a0 over each half, in 16 bits; then of a1, and of a2. In the halves' own order. */
const TOTALS: usize = 768;
const STEP: usize = 864;
const BLOCK: usize = 880;

/** Bytes of a block's 16 scales. */
const SCALES: usize = 32;

/** c[N] (+)= alpha · w · a, rows [n, last), two at a time from the two halves of the run (dot_shorts.as.ts says why). */
// @ts-ignore: decorator
@inline
export function dotScaled<B>(
  a: usize, w: usize, c: usize, n: i32, last: i32, K: i32,
  alpha: f32, accumulate: boolean, scratch: usize,
): void {
  const b = changetype<B>(0);
  const scales = scratch + 64, digits = scales + 2 * SCALES;
  splitBlocks<B>(a, K, digits);
  const ownMask = pinned(v128.load(b.ownMask), scratch), moreMask = pinned(v128.load(b.moreMask), scratch);
  const row = (<usize>K >> 8) * b.bytes;
  const half = (last - n + 1) >> 1;
  const middle = n + half;
  for (; n < middle; n++) {
    const paired = n + half < last;
    let p = w + <usize>n * row;
    let q = paired ? p + half * row : p;
    let x = digits;
    for (let i: usize = 0; i < 64; i += 16) v128.store(scratch + i, f32x4.splat(0));
    for (const end = p + row; p < end; p += b.bytes, q += b.bytes, x += BLOCK) {
      addBlock<B>(x, p, ownMask, moreMask, scales, scratch);
      addBlock<B>(x, q, ownMask, moreMask, scales + SCALES, scratch + 32);
    }
    const s = hsum(f32x4.add(v128.load(scratch), v128.load(scratch, 16)));
    const t = hsum(f32x4.add(v128.load(scratch, 32), v128.load(scratch, 48)));
    putSum(c + (<usize>n << 2), alpha * s, accumulate);
    if (paired) putSum(c + (<usize>(n + half) << 2), alpha * t, accumulate);
  }
}

/**
 * Adds the block at p dotted with the digits at x to the two vectors at `sums`. Both halves of a group are treated alike, side by side, for
 * engines that pair vectors (shared/wide.as.ts).
 */
// @ts-ignore: decorator
@inline
function addBlock<B>(x: usize, p: usize, ownMask: v128, moreMask: v128, scales: usize, sums: usize): void {
  const b = changetype<B>(0);
  const small = b.small(p);
  const k0 = i16x8.extend_low_i8x16_s(small), k1 = i16x8.extend_high_i8x16_s(small);
  v128.store(scales, asTaken<B>(k0));
  v128.store(scales, asTaken<B>(k1), 16);
  // The sums of the three digits begin with what takes the bias of stored elements back.
  const bits = ctz(<i32>b.bias);
  let low0 = i32x4.shl(i32x4.dot_i16x8_s(v128.load(x, TOTALS), k0), bits);
  let low1 = i32x4.shl(i32x4.dot_i16x8_s(v128.load(x, TOTALS + 16), k1), bits);
  let middle0 = i32x4.shl(i32x4.dot_i16x8_s(v128.load(x, TOTALS + 32), k0), bits);
  let middle1 = i32x4.shl(i32x4.dot_i16x8_s(v128.load(x, TOTALS + 48), k1), bits);
  let high0 = i32x4.shl(i32x4.dot_i16x8_s(v128.load(x, TOTALS + 64), k0), bits);
  let high1 = i32x4.shl(i32x4.dot_i16x8_s(v128.load(x, TOTALS + 80), k1), bits);
  let y = x;
  for (let i = 0; i < 4; i++, y += 2 * GROUP, scales += 8) {
    const own = b.ownAt(p, i), more = b.moreAt(p, i);
    const own0 = i32x4.shr_u(v128.load(own), b.ownFrom(i)), own1 = i32x4.shr_u(v128.load(own, 16), b.ownFrom(i));
    const more0 = i32x4.shr_u(v128.load(more), b.moreFrom(i)), more1 = i32x4.shr_u(v128.load(more, 16), b.moreFrom(i));
    let scale0 = v128.load16_splat(scales), scale1 = v128.load16_splat(scales, 2);
    let u0 = b.lower(own0, more0, ownMask, moreMask), u1 = b.lower(own1, more1, ownMask, moreMask);
    low0 = i32x4.add(low0, digitOfHalf(v128.load(y), u0, scale0)), low1 = i32x4.add(low1, digitOfHalf(v128.load(y, 16), u1, scale1));
    middle0 = i32x4.add(middle0, digitOfHalf(v128.load(y, 32), u0, scale0)), middle1 = i32x4.add(middle1, digitOfHalf(v128.load(y, 48), u1, scale1));
    high0 = i32x4.add(high0, digitOfHalf(v128.load(y, 64), u0, scale0)), high1 = i32x4.add(high1, digitOfHalf(v128.load(y, 80), u1, scale1));
    scale0 = v128.load16_splat(scales, 4), scale1 = v128.load16_splat(scales, 6);
    u0 = b.upper(own0, more0, ownMask, moreMask), u1 = b.upper(own1, more1, ownMask, moreMask);
    low0 = i32x4.add(low0, digitOfHalf(v128.load(y, 96), u0, scale0)), low1 = i32x4.add(low1, digitOfHalf(v128.load(y, 112), u1, scale1));
    middle0 = i32x4.add(middle0, digitOfHalf(v128.load(y, 128), u0, scale0)), middle1 = i32x4.add(middle1, digitOfHalf(v128.load(y, 144), u1, scale1));
    high0 = i32x4.add(high0, digitOfHalf(v128.load(y, 160), u0, scale0)), high1 = i32x4.add(high1, digitOfHalf(v128.load(y, 176), u1, scale1));
  }
  const second = f32x4.splat(<f32>(1 << DIGIT)), third = f32x4.splat(<f32>(1 << (2 * DIGIT)));
  const unit = f32x4.splat(b.unit(p) * load<f32>(x, STEP));
  const value0 = madd(f32x4.convert_i32x4_s(high0), third, madd(f32x4.convert_i32x4_s(middle0), second, f32x4.convert_i32x4_s(low0)));
  const value1 = madd(f32x4.convert_i32x4_s(high1), third, madd(f32x4.convert_i32x4_s(middle1), second, f32x4.convert_i32x4_s(low1)));
  const sum0 = madd(value0, unit, v128.load(sums)), sum1 = madd(value1, unit, v128.load(sums, 16));
  v128.store(sums, sum0); // neighbours in code, too: V8 pairs nothing across a load
  v128.store(sums, sum1, 16);
}

/** The scales of four groups, in the order in which those are taken. */
// @ts-ignore: decorator
@inline
function asTaken<B>(k: v128): v128 {
  return changetype<B>(0).apart == 1 ? k : v128.shuffle<i16>(k, k, 0, 1, 4, 5, 2, 3, 6, 7);
}

/** Writes the K elements at a as blocks of digits. */
function splitBlocks<B>(a: usize, K: i32, out: usize): void {
  for (const end = a + (<usize>K << 2); a < end; a += 1024, out += BLOCK) {
    let peak = f32x4.splat(0);
    for (let i: usize = 0; i < 1024; i += 16) peak = f32x4.max(peak, f32x4.abs(v128.load(a + i)));
    const most = max<f32>(hmax(peak), LEAST);
    const perStep = f32x4.splat(LIMIT / most);
    for (let half: usize = 0; half < 16; half++) {
      const to = out + placeOf<B>(half >> 1) * GROUP + ((half & 1) << 4), from = a + (half << 6);
      let x0 = whole(from, perStep), x1 = whole(from + 16, perStep), x2 = whole(from + 32, perStep), x3 = whole(from + 48, perStep);
      for (let digit: usize = 0; digit < 96; digit += 32) {
        const d0 = lowest(x0), d1 = lowest(x1), d2 = lowest(x2), d3 = lowest(x3);
        v128.store(to + digit, i8x16.narrow_i16x8_s(i16x8.narrow_i32x4_s(d0, d1), i16x8.narrow_i32x4_s(d2, d3)));
        const fours = i32x4.add(i32x4.add(d0, d1), i32x4.add(d2, d3));
        const twos = i32x4.add(fours, v128.shuffle<i32>(fours, fours, 2, 3, 0, 1));
        store<i16>(out + digit + (half << 1), <i16>-(i32x4.extract_lane(twos, 0) + i32x4.extract_lane(twos, 1)), TOTALS);
        x0 = i32x4.shr_s(i32x4.sub(x0, d0), DIGIT), x1 = i32x4.shr_s(i32x4.sub(x1, d1), DIGIT);
        x2 = i32x4.shr_s(i32x4.sub(x2, d2), DIGIT), x3 = i32x4.shr_s(i32x4.sub(x3, d3), DIGIT);
      }
    }
    store<f32>(out, most / LIMIT, STEP);
  }
}

/** When group g is taken. */
// @ts-ignore: decorator
@inline
function placeOf<B>(g: usize): usize {
  return changetype<B>(0).apart == 1 ? g : (g & 4) | ((g & 1) << 1) | ((g & 2) >> 1);
}

/** Four elements as X. */
// @ts-ignore: decorator
@inline
function whole(at: usize, perStep: v128): v128 {
  const rounded = f32x4.nearest(f32x4.mul(v128.load(at), perStep));
  if (ASC_FEATURE_RELAXED_SIMD) return i32x4.relaxed_trunc_f32x4_s(rounded);
  else return i32x4.trunc_sat_f32x4_s(rounded); // never reached: dotRows calls this in relaxed builds only
}

/** The last eight bits of four numbers, signed. */
// @ts-ignore: decorator
@inline
function lowest(x: v128): v128 {
  return i32x4.shr_s(i32x4.shl(x, 24), 24);
}
