/** Powers of two for softmaxes whose scores come in base 2. */
import { madd } from "./simd.as";

/** Factor from natural to binary exponents: a score times this one is in base 2. */
export const LOG2_E: f32 = 1.44269504088896341;
export const LN_2: f32 = 0.69314718055994531;
// 2^r = 1 + r · (c1 + r · (c2 + …)) for |r| ≤ 1/2, minimax of the relative error: 9.2e-8
export const EXP2_1: f32 = 0.6931469775948484;
export const EXP2_2: f32 = 0.24022242080122275;
export const EXP2_3: f32 = 0.05550733747760133;
export const EXP2_4: f32 = 0.009671512959265662;
export const EXP2_5: f32 = 0.0013264726623582331;
/** 1.5 · 2²³ rounds to an integer and leaves that integer in the low bits. */
export const EXP2_MAGIC: f32 = 12582912;
/** Below, 2^x is 0. */
export const EXP2_FLOOR: f32 = -127;

/**
 * 2^x of four lanes up to 127, at or below -127 exactly 0. Half the operations of exp4; the constants come as vectors
 * so that a loop can keep them in registers (`pinned`).
 */
// @ts-ignore: decorator
@inline
export function exp2(
  x: v128, floor: v128, magic: v128, c0: v128, c1: v128, c2: v128, c3: v128, c4: v128, c5: v128,
): v128 {
  const y = f32x4.pmax(floor, x);
  const t = f32x4.add(y, magic);
  const r = f32x4.sub(y, f32x4.sub(t, magic));
  let e = madd(c5, r, c4);
  e = madd(e, r, c3);
  e = madd(e, r, c2);
  e = madd(e, r, c1);
  e = madd(e, r, c0);
  return i32x4.add(e, i32x4.shl(t, 23));
}
