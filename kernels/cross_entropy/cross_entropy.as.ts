/**
 * Cross-entropy on the CPU: rows [begin, end). Exponentials are added in f32 over blocks of 1024 and the blocks in f64,
 * so that the sum over a vocabulary of 49,152 is as good as that over one block.
 */
import { exp4, hmax, hsum, log1, softCap4, softCapSlope4 } from "../shared/simd.as";

// @ts-ignore: decorator
@inline
const BLOCK: usize = 1024 << 2;

export function cross_entropy(
  targets: usize, logits: usize, nll: usize,
  R: i32, V: i32, gradient: u32, softcap: f32,
  begin: i32, end: i32, scratch: usize,
): void {
  for (let r = begin; r < end; r++) {
    const row = logits + ((<usize>r * V) << 2);
    const target = load<i32>(targets + (<usize>r << 2));
    if (target < 0 || target >= V) {
      settle(row, gradient ? V : 0, nll + (<usize>r << 2), target < 0 ? 0 : NaN);
      continue;
    }
    const hit = row + (<usize>target << 2);
    let top = rowMax(row, V);
    let logit = load<f32>(hit);
    let sum: f64;
    if (softcap > 0) {
      const sound = top > -f32.MAX_VALUE && top < Infinity; // a cap would hide what is not
      top = capped(top, softcap);
      logit = capped(logit, softcap);
      if (!sound) sum = NaN;
      else sum = gradient ? expSum(row, V, top, true, true, softcap) : expSum(row, V, top, false, true, softcap);
    } else {
      sum = gradient ? expSum(row, V, top, true, false, 0) : expSum(row, V, top, false, false, 0);
    }
    if (!(sum > 0)) { // NaN, or nothing but −∞
      settle(row, gradient ? V : 0, nll + (<usize>r << 2), NaN);
      continue;
    }
    store<f32>(nll + (<usize>r << 2), top - logit + log1(<f32>sum));
    if (!gradient) continue;
    let slope: f32 = 1; // of the target's logit
    if (softcap > 0) {
      slope = f32x4.extract_lane(softCapSlope4(f32x4.splat(logit), f32x4.splat(softcap)), 0);
      cappedGradient(row, V, top, <f32>(1 / sum), softcap);
    } else {
      scaleRow(row, V, <f32>(1 / sum));
    }
    store<f32>(hit, load<f32>(hit) - slope);
  }
}

function capped(logit: f32, softcap: f32): f32 {
  return f32x4.extract_lane(softCap4(f32x4.splat(logit), f32x4.splat(softcap)), 0);
}

/** One value for the loss and for all the row's gradients. */
function settle(row: usize, count: i32, nll: usize, value: f32): void {
  store<f32>(nll, value);
  for (let v: usize = 0; v < <usize>count; v++) store<f32>(row + (v << 2), value);
}

function rowMax(row: usize, V: i32): f32 {
  const end = row + (<usize>V << 2);
  let at = row;
  let a = f32x4.splat(-f32.MAX_VALUE);
  let b = a;
  for (; at + 32 <= end; at += 32) {
    a = f32x4.pmax(a, v128.load(at));
    b = f32x4.pmax(b, v128.load(at, 16));
  }
  let top = hmax(f32x4.pmax(a, b));
  for (; at < end; at += 4) top = max(top, load<f32>(at));
  return top;
}

/**
 * Σ e^(x − top) of a row, each x capped if `cap`. With `keep` what the gradient is made of replaces the logits: the
 * exponentials, or the capped x.
 */
// @ts-ignore: decorator
@inline
function expSum(row: usize, V: i32, top: f32, keep: bool, cap: bool, softcap: f32): f64 {
  const softcap4 = f32x4.splat(softcap);
  const top4 = f32x4.splat(top);
  const end = row + (<usize>V << 2);
  let at = row;
  let total: f64 = 0;
  while (at < end) {
    const stop = min(at + BLOCK, end);
    let a = f32x4.splat(0);
    let b = a;
    for (; at + 32 <= stop; at += 32) {
      let x = v128.load(at), y = v128.load(at, 16);
      if (cap) {
        x = softCap4(x, softcap4);
        y = softCap4(y, softcap4);
      }
      const e = exp4(f32x4.sub(x, top4));
      const f = exp4(f32x4.sub(y, top4));
      if (keep) {
        v128.store(at, cap ? x : e);
        v128.store(at, cap ? y : f, 16);
      }
      a = f32x4.add(a, e);
      b = f32x4.add(b, f);
    }
    total += <f64>hsum(f32x4.add(a, b));
    for (; at < stop; at += 4) {
      let x = load<f32>(at);
      if (cap) x = capped(x, softcap);
      const e = f32x4.extract_lane(exp4(f32x4.splat(x - top)), 0);
      if (keep) store<f32>(at, cap ? x : e);
      total += <f64>e;
    }
  }
  return total;
}

/** e^(y − top) · factor · (1 − (y / softcap)²) in place of each capped logit y. */
function cappedGradient(row: usize, V: i32, top: f32, factor: f32, softcap: f32): void {
  const top4 = f32x4.splat(top);
  const factor4 = f32x4.splat(factor);
  const softcap4 = f32x4.splat(softcap);
  const end = row + (<usize>V << 2);
  let at = row;
  for (; at + 16 <= end; at += 16) {
    const y = v128.load(at);
    const share = f32x4.mul(exp4(f32x4.sub(y, top4)), factor4);
    v128.store(at, f32x4.mul(share, softCapSlope4(y, softcap4)));
  }
  for (; at < end; at += 4) {
    const y = v128.load32_splat(at);
    const share = f32x4.mul(exp4(f32x4.sub(y, top4)), factor4);
    store<f32>(at, f32x4.extract_lane(f32x4.mul(share, softCapSlope4(y, softcap4)), 0));
  }
}

function scaleRow(row: usize, V: i32, factor: f32): void {
  const factor4 = f32x4.splat(factor);
  const end = row + (<usize>V << 2);
  let at = row;
  for (; at + 16 <= end; at += 16) v128.store(at, f32x4.mul(v128.load(at), factor4));
  for (; at < end; at += 4) store<f32>(at, load<f32>(at) * factor);
}
