/**
 * A token drawn from the softmax of the logits, on the CPU: one unit. Top-k, top-p and min-p each keep the weights above a
 * floor, and of those equal to it the first few. The floor is found by halving an interval of the bits of a weight, which
 * have the order of the weights. Sums are taken in f32 over blocks of 1024 and in f64 over the blocks.
 */
import { exp4, hmax, hsum } from "../shared/simd.as";

// @ts-ignore: decorator
@inline
const BLOCK: usize = 1024 << 2;

/** The largest logit; NaN where one is NaN. */
function largest(logits: usize, V: i32): f32 {
  const end = logits + (<usize>V << 2);
  let at = logits;
  let top4 = f32x4.splat(<f32>-Infinity);
  for (; at + 16 <= end; at += 16) top4 = f32x4.max(top4, v128.load(at)); // NaN passes on
  let top = hmax(top4);
  for (; at < end; at += 4) top = max(top, load<f32>(at));
  return top;
}

/** weights = e^((logits − top) / temperature) */
function weigh(logits: usize, weights: usize, V: i32, top: f32, temperature: f32): void {
  const size = <usize>V << 2;
  const top4 = f32x4.splat(top);
  const temperature4 = f32x4.splat(temperature);
  let at: usize = 0;
  for (; at + 16 <= size; at += 16) {
    v128.store(weights + at, exp4(f32x4.div(f32x4.sub(v128.load(logits + at), top4), temperature4)));
  }
  for (; at < size; at += 4) {
    const x = (load<f32>(logits + at) - top) / temperature;
    store<f32>(weights + at, f32x4.extract_lane(exp4(f32x4.splat(x)), 0));
  }
}

/** The sum of the weights above `floor`, or their number. */
function above(weights: usize, V: i32, floor: f32, counting: bool): f64 {
  const end = weights + (<usize>V << 2);
  const floor4 = f32x4.splat(floor);
  const one4 = f32x4.splat(1);
  let at = weights;
  let total: f64 = 0;
  while (at < end) {
    const stop = min(at + BLOCK, end);
    let a = f32x4.splat(0), b = a;
    for (; at + 32 <= stop; at += 32) {
      const v = v128.load(at);
      const w = v128.load(at, 16);
      a = f32x4.add(a, v128.and(counting ? one4 : v, f32x4.gt(v, floor4)));
      b = f32x4.add(b, v128.and(counting ? one4 : w, f32x4.gt(w, floor4)));
    }
    total += <f64>hsum(f32x4.add(a, b));
    for (; at < stop; at += 4) {
      const w = load<f32>(at);
      if (w > floor) total += counting ? 1 : <f64>w;
    }
  }
  return total;
}

/** Weights are added from the largest down until their sum (or number) reaches `goal`: the last one; at least `outer`. */
function lower(weights: usize, V: i32, outer: f32, goal: f64, counting: bool): f32 {
  let low = reinterpret<i32>(outer);
  let high = reinterpret<i32>(<f32>1); // the largest weight: nothing is above it
  while (low < high) {
    const middle = (low + high) >> 1;
    if (above(weights, V, reinterpret<f32>(middle), counting) < goal) high = middle;
    else low = middle + 1;
  }
  return reinterpret<f32>(high);
}

export function sample(
  logits: usize, index: usize,
  V: i32, temperature: f32, top_k: u32, top_p: f32, min_p: f32, u: f32,
  shared: usize, begin: i32, end: i32, scratch: usize,
): void {
  if (begin >= end) return;
  const weights = shared;
  const top = largest(logits, V);
  if (!isFinite(top)) {
    store<i32>(index, -1);
    return;
  }
  weigh(logits, weights, V, top, temperature);

  // Kept: the weights above `floor`, and the first `ties` of those equal to it.
  let floor: f32 = 0;
  let ties: f64 = V;
  if (top_k > 0 && top_k < <u32>V) {
    floor = lower(weights, V, 0, top_k, true);
    if (floor > 0) ties = <f64>top_k - above(weights, V, floor, true);
  }
  if (top_p < 1) {
    const outer = floor;
    const goal = <f64>top_p * (above(weights, V, outer, false) + ties * outer);
    floor = lower(weights, V, outer, goal, false);
    if (floor > 0) {
      const wanted = max(<f64>1, ceil((goal - above(weights, V, floor, false)) / floor));
      ties = floor == outer ? min(ties, wanted) : wanted;
    }
  }
  const least = min(min_p, <f32>1);
  if (floor < least) {
    floor = reinterpret<f32>(reinterpret<i32>(least) - 1); // the number before it: `least` itself is kept
    ties = 0;
  }

  // In the order of the indices, up to the part u of the sum.
  let rest = <f64>u * (above(weights, V, floor, false) + ties * floor);
  let found = -1;
  for (let i = 0; i < V && rest >= 0; i++) {
    const w = load<f32>(weights + (<usize>i << 2));
    if (w < floor || w == 0) continue;
    if (w == floor && --ties < 0) continue;
    rest -= w;
    found = i;
  }
  store<i32>(index, found);
}
