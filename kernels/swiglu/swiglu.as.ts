/**
 * SwiGLU and its gradient on the CPU: units of 1024 elements, two vectors side by side, which some engines make one of
 * (shared/wide.as.ts). A tail goes through the same code.
 */
import { unitBytes } from "../shared/elementwise.as";
import { constant, exp4, madd } from "../shared/simd.as";

const ONE = memory.data<f32>([1]);
const MOST = memory.data<f32>([87]);

/** e^−g; g ≥ −87, so that 1 + e^−g stays finite. */
// @ts-ignore: decorator
@inline
function expMinus(g: v128): v128 {
  return exp4(f32x4.min(f32x4.neg(g), constant(MOST)));
}

// @ts-ignore: decorator
@inline
function forward(gate: v128, up: v128): v128 {
  const one = constant(ONE);
  return f32x4.mul(f32x4.div(gate, f32x4.add(one, expMinus(gate))), up);
}

export function swiglu(
  gate: usize, up: usize, y: usize,
  N: i32,
  begin: i32, end: i32, scratch: usize,
): void {
  let at = unitBytes(begin, N);
  const to = unitBytes(end, N);
  for (; at + 32 <= to; at += 32) {
    const y0 = forward(v128.load(gate + at), v128.load(up + at));
    const y1 = forward(v128.load(gate + at, 16), v128.load(up + at, 16));
    v128.store(y + at, y0);
    v128.store(y + at, y1, 16);
  }
  for (; at < to; at += 4) {
    const value = forward(v128.load32_zero(gate + at), v128.load32_zero(up + at));
    store<f32>(y + at, f32x4.extract_lane(value, 0));
  }
}

// @ts-ignore: decorator
@inline
function sigmoidOf(e: v128): v128 {
  const one = constant(ONE);
  return f32x4.div(one, f32x4.add(one, e));
}

/** dy·up·s·(1 + gate·(1 − s)), where 1 − s = e·s without the cancellation. */
// @ts-ignore: decorator
@inline
function gateGradient(through: v128, gate: v128, up: v128, e: v128, s: v128): v128 {
  return f32x4.mul(f32x4.mul(through, up), madd(gate, f32x4.mul(e, s), constant(ONE)));
}

export function swiglu_backward(
  dy: usize, gate: usize, up: usize, dgate: usize, dup: usize,
  N: i32,
  begin: i32, end: i32, scratch: usize,
): void {
  let at = unitBytes(begin, N);
  const to = unitBytes(end, N);
  for (; at + 32 <= to; at += 32) {
    const g0 = v128.load(gate + at), g1 = v128.load(gate + at, 16);
    const e0 = expMinus(g0), e1 = expMinus(g1);
    const s0 = sigmoidOf(e0), s1 = sigmoidOf(e1);
    const through0 = f32x4.mul(v128.load(dy + at), s0);
    const through1 = f32x4.mul(v128.load(dy + at, 16), s1);
    v128.store(dup + at, f32x4.mul(through0, g0));
    v128.store(dup + at, f32x4.mul(through1, g1), 16);
    v128.store(dgate + at, gateGradient(through0, g0, v128.load(up + at), e0, s0));
    v128.store(dgate + at, gateGradient(through1, g1, v128.load(up + at, 16), e1, s1), 16);
  }
  for (; at < to; at += 4) {
    const g = v128.load32_zero(gate + at);
    const e = expMinus(g);
    const s = sigmoidOf(e);
    const through = f32x4.mul(v128.load32_zero(dy + at), s);
    store<f32>(dup + at, f32x4.extract_lane(f32x4.mul(through, g), 0));
    store<f32>(dgate + at, f32x4.extract_lane(gateGradient(through, g, v128.load32_zero(up + at), e, s), 0));
  }
}
