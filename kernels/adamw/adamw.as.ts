/** AdamW on the CPU: units of 1024 elements. A tail goes through the same four-lane code. */
import { unitBytes } from "../shared/elementwise.as";
import { madd } from "../shared/simd.as";

// @ts-ignore: decorator
@inline
function firstMoment(m: v128, g: v128, beta1: f32, rest1: f32): v128 {
  return madd(f32x4.splat(beta1), m, f32x4.mul(f32x4.splat(rest1), g));
}

// @ts-ignore: decorator
@inline
function secondMoment(v: v128, g: v128, beta2: f32, rest2: f32): v128 {
  return madd(f32x4.splat(beta2), v, f32x4.mul(f32x4.splat(rest2), f32x4.mul(g, g)));
}

// @ts-ignore: decorator
@inline
function stepped(p: v128, m: v128, v: v128, decay: f32, rate: f32, root: f32, eps: f32): v128 {
  const denominator = f32x4.add(f32x4.mul(f32x4.sqrt(v), f32x4.splat(root)), f32x4.splat(eps));
  const decayed = madd(f32x4.splat(-decay), p, p);
  return f32x4.sub(decayed, f32x4.div(f32x4.mul(f32x4.splat(rate), m), denominator));
}

export function adamw(
  g: usize, norm2: usize, p: usize, m: usize, v: usize, skipped: usize,
  N: i32,
  decay: f32, rate: f32, beta1: f32, rest1: f32, beta2: f32, rest2: f32, root: f32, eps: f32, clip: f32,
  begin: i32, end: i32, scratch: usize,
): void {
  const total = load<f32>(norm2);
  if (!isFinite<f32>(total)) {
    if (begin == 0 && end > 0) store<f32>(skipped, load<f32>(skipped) + 1); // the first unit's owner counts
    return;
  }
  let s: f32 = 1;
  if (clip > 0) s = min<f32>(1, clip / (sqrt<f32>(total) + <f32>1e-6));
  const scale = f32x4.splat(s);
  let at = unitBytes(begin, N);
  const to = unitBytes(end, N);
  for (; at + 16 <= to; at += 16) {
    const clipped = f32x4.mul(scale, v128.load(g + at));
    const first = firstMoment(v128.load(m + at), clipped, beta1, rest1);
    const second = secondMoment(v128.load(v + at), clipped, beta2, rest2);
    v128.store(m + at, first);
    v128.store(v + at, second);
    v128.store(p + at, stepped(v128.load(p + at), first, second, decay, rate, root, eps));
  }
  for (; at < to; at += 4) {
    const clipped = f32x4.mul(scale, v128.load32_zero(g + at));
    const first = firstMoment(v128.load32_zero(m + at), clipped, beta1, rest1);
    const second = secondMoment(v128.load32_zero(v + at), clipped, beta2, rest2);
    store<f32>(m + at, f32x4.extract_lane(first, 0));
    store<f32>(v + at, f32x4.extract_lane(second, 0));
    const next = stepped(v128.load32_zero(p + at), first, second, decay, rate, root, eps);
    store<f32>(p + at, f32x4.extract_lane(next, 0));
  }
}
