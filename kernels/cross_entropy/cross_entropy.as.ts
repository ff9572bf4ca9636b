/**
 * Cross-entropy on the CPU: rows [begin, end). Exponentials are added in f32 over blocks of 1024 and the blocks in f64,
 * so that the sum over a vocabulary of 49,152 is as good as that over one block.
 */
import { exp4, hmax, hsum, log1 } from "../shared/simd.as";

// @ts-ignore: decorator
@inline
const BLOCK: usize = 1024 << 2;

export function cross_entropy(
  targets: usize, logits: usize, nll: usize,
  R: i32, V: i32, gradient: u32,
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
    const top = rowMax(row, V);
    const gap = top - load<f32>(hit);
    const sum = gradient ? expSum(row, V, top, true) : expSum(row, V, top, false);
    if (!(sum > 0)) { // NaN, or nothing but −∞
      settle(row, gradient ? V : 0, nll + (<usize>r << 2), NaN);
      continue;
    }
    store<f32>(nll + (<usize>r << 2), gap + log1(<f32>sum));
    if (gradient) {
      scaleRow(row, V, <f32>(1 / sum));
      store<f32>(hit, load<f32>(hit) - 1);
    }
  }
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

/** Σ e^(x − top) of a row; with `keep` each exponential replaces its x. */
// @ts-ignore: decorator
@inline
function expSum(row: usize, V: i32, top: f32, keep: bool): f64 {
  const top4 = f32x4.splat(top);
  const end = row + (<usize>V << 2);
  let at = row;
  let total: f64 = 0;
  while (at < end) {
    const stop = min(at + BLOCK, end);
    let a = f32x4.splat(0);
    let b = a;
    for (; at + 32 <= stop; at += 32) {
      const e = exp4(f32x4.sub(v128.load(at), top4));
      const f = exp4(f32x4.sub(v128.load(at, 16), top4));
      if (keep) {
        v128.store(at, e);
        v128.store(at, f, 16);
      }
      a = f32x4.add(a, e);
      b = f32x4.add(b, f);
    }
    total += <f64>hsum(f32x4.add(a, b));
    for (; at < stop; at += 4) {
      const e = f32x4.extract_lane(exp4(f32x4.splat(load<f32>(at) - top)), 0);
      if (keep) store<f32>(at, e);
      total += <f64>e;
    }
  }
  return total;
}

function scaleRow(row: usize, V: i32, factor: f32): void {
  const factor4 = f32x4.splat(factor);
  const end = row + (<usize>V << 2);
  let at = row;
  for (; at + 16 <= end; at += 16) v128.store(at, f32x4.mul(v128.load(at), factor4));
  for (; at < end; at += 4) store<f32>(at, load<f32>(at) * factor);
}
