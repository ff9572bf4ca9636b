/**
 * GeGLU and its gradient on the CPU: units of 1024 elements, two vectors side by side, which some engines make one of
 * (shared/wide.as.ts). A tail goes through the same code. ½·(1 + tanh u) = s = 1 / (1 + e^−z) with z = 2u.
 */
import { unitBytes } from "../shared/elementwise.as";
import { constant, exp4, madd } from "../shared/simd.as";

/** z = g·(SLOPE + CURVE·g²); 2·√(2/π), and 0.044715 times that. */
const SLOPE = memory.data<f32>([1.5957691216057308]);
const CURVE = memory.data<f32>([0.07135481627260025]);
const THREE_CURVES = memory.data<f32>([0.21406444881780075]);
/** At −EDGE, s is f32's smallest normal number: below, it is taken for 0. At EDGE, s is 1 long since. */
const EDGE = memory.data<f32>([10]);
const LESS_EDGE = memory.data<f32>([-10]);
const ONE = memory.data<f32>([1]);

/** g within ±EDGE; NaN stays. pmin and pmax are an instruction each, min and max five or more. */
// @ts-ignore: decorator
@inline
function near(g: v128): v128 {
  return f32x4.pmax(f32x4.pmin(g, constant(EDGE)), constant(LESS_EDGE));
}

/** e^−z of a near g: at most e^87.4. */
// @ts-ignore: decorator
@inline
function expMinus(g: v128): v128 {
  const slope = madd(f32x4.mul(g, g), constant(CURVE), constant(SLOPE));
  return exp4(f32x4.neg(f32x4.mul(g, slope)));
}

/** s of any g, given e^−z. */
// @ts-ignore: decorator
@inline
function sigmoidOf(g: v128, e: v128): v128 {
  const one = constant(ONE);
  return v128.andnot(f32x4.div(one, f32x4.add(one, e)), f32x4.lt(g, constant(LESS_EDGE)));
}

// @ts-ignore: decorator
@inline
function forward(gate: v128, up: v128): v128 {
  return f32x4.mul(f32x4.mul(gate, sigmoidOf(gate, expMinus(near(gate)))), up);
}

export function geglu(
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

/** dy·up·s·(1 + g·z'·(1 − s)) of a near g, with z' = SLOPE + 3·CURVE·g², and 1 − s = e·s without the cancellation. */
// @ts-ignore: decorator
@inline
function gateGradient(through: v128, g: v128, up: v128, e: v128, s: v128): v128 {
  const slope = madd(f32x4.mul(g, g), constant(THREE_CURVES), constant(SLOPE));
  const inner = madd(f32x4.mul(g, slope), f32x4.mul(e, s), constant(ONE));
  return f32x4.mul(f32x4.mul(through, up), inner);
}

export function geglu_backward(
  dy: usize, gate: usize, up: usize, dgate: usize, dup: usize,
  N: i32,
  begin: i32, end: i32, scratch: usize,
): void {
  let at = unitBytes(begin, N);
  const to = unitBytes(end, N);
  for (; at + 32 <= to; at += 32) {
    const g0 = v128.load(gate + at), g1 = v128.load(gate + at, 16);
    const near0 = near(g0), near1 = near(g1);
    const e0 = expMinus(near0), e1 = expMinus(near1);
    const s0 = sigmoidOf(g0, e0), s1 = sigmoidOf(g1, e1);
    const through0 = f32x4.mul(v128.load(dy + at), s0);
    const through1 = f32x4.mul(v128.load(dy + at, 16), s1);
    v128.store(dup + at, f32x4.mul(through0, g0));
    v128.store(dup + at, f32x4.mul(through1, g1), 16);
    v128.store(dgate + at, gateGradient(through0, near0, v128.load(up + at), e0, s0));
    v128.store(dgate + at, gateGradient(through1, near1, v128.load(up + at, 16), e1, s1), 16);
  }
  for (; at < to; at += 4) {
    const g = v128.load32_zero(gate + at);
    const inside = near(g);
    const e = expMinus(inside);
    const s = sigmoidOf(g, e);
    const through = f32x4.mul(v128.load32_zero(dy + at), s);
    store<f32>(dup + at, f32x4.extract_lane(f32x4.mul(through, g), 0));
    store<f32>(dgate + at, f32x4.extract_lane(gateGradient(through, inside, v128.load32_zero(up + at), e, s), 0));
  }
}
