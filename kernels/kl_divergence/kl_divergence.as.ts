/**
 * The divergence on the CPU: rows [begin, end). Sums go in f32 over blocks of 1024 and the blocks in f64, as cross-entropy's. What is left of
 * a row's last four lanes goes through the same code, one lane at a time.
 */
import { exp4, hsum, log1, madd, softCap4, softCapSlope4 } from "../shared/simd.as";

// @ts-ignore: decorator
@inline
const DIVERGENCE_BLOCK: usize = 1024 << 2;

export function kl_divergence(
  anchor: usize, logits: usize, kl: usize,
  R: i32, V: i32, softcap: f32,
  begin: i32, end: i32, scratch: usize,
): void {
  const bytes = <usize>V << 2;
  for (let r = <usize>begin; r < <usize>end; r++) {
    const p = anchor + r * bytes;
    const q = logits + r * bytes;
    const topP = finiteTop(p, bytes);
    const topQ = finiteTop(q, bytes);
    if (isNaN<f32>(topP) || isNaN<f32>(topQ)) {
      store<f32>(kl + (r << 2), NaN);
      for (let at: usize = 0; at < bytes; at += 4) store<f32>(q + at, NaN);
      continue;
    }
    if (softcap > 0) divergence(p, q, kl + (r << 2), bytes, oneCapped(topP, softcap), oneCapped(topQ, softcap), true, softcap);
    else divergence(p, q, kl + (r << 2), bytes, topP, topQ, false, 0);
  }
}

function oneCapped(x: f32, softcap: f32): f32 {
  return f32x4.extract_lane(softCap4(f32x4.splat(x), f32x4.splat(softcap)), 0);
}

/** The row's maximum; NaN where a number is not finite: 0 times it is not 0. */
function finiteTop(row: usize, bytes: usize): f32 {
  const zero = f32x4.splat(0);
  let top = f32x4.splat(-f32.MAX_VALUE);
  let odd = zero;
  let at: usize = 0;
  for (; at + 16 <= bytes; at += 16) {
    const x = v128.load(row + at);
    top = f32x4.pmax(top, x);
    odd = f32x4.add(odd, f32x4.mul(x, zero));
  }
  for (; at < bytes; at += 4) {
    const x = v128.load32_splat(row + at);
    top = f32x4.pmax(top, x);
    odd = f32x4.add(odd, f32x4.mul(x, zero));
  }
  const pair = f32x4.max(top, i8x16.shuffle(top, top, 8, 9, 10, 11, 12, 13, 14, 15, 0, 1, 2, 3, 4, 5, 6, 7));
  return max(f32x4.extract_lane(pair, 0), f32x4.extract_lane(pair, 1)) + hsum(odd);
}

/** One row: Σ e^a, Σ e^b and Σ e^a·(a − b) with a and b below their maxima; then q − p. */
// @ts-ignore: decorator
@inline
function divergence(
  p: usize, q: usize, kl: usize, bytes: usize,
  topP: f32, topQ: f32, cap: bool, softcap: f32,
): void {
  const topP4 = f32x4.splat(topP);
  const topQ4 = f32x4.splat(topQ);
  const softcap4 = f32x4.splat(softcap);
  let sumP: f64 = 0;
  let sumQ: f64 = 0;
  let mean: f64 = 0;
  let at: usize = 0;
  while (at < bytes) {
    const stop = min(at + DIVERGENCE_BLOCK, bytes);
    let blockP = f32x4.splat(0);
    let blockQ = blockP;
    let blockMean = blockP;
    for (; at + 16 <= stop; at += 16) {
      let x = v128.load(p + at);
      let y = v128.load(q + at);
      if (cap) {
        x = softCap4(x, softcap4);
        y = softCap4(y, softcap4);
        v128.store(q + at, y);
      }
      const a = f32x4.sub(x, topP4);
      const b = f32x4.sub(y, topQ4);
      const e = exp4(a);
      blockP = f32x4.add(blockP, e);
      blockQ = f32x4.add(blockQ, exp4(b));
      blockMean = madd(e, f32x4.sub(a, b), blockMean);
    }
    sumP += <f64>hsum(blockP);
    sumQ += <f64>hsum(blockQ);
    mean += <f64>hsum(blockMean);
    for (; at < stop; at += 4) {
      let x = v128.load32_splat(p + at);
      let y = v128.load32_splat(q + at);
      if (cap) {
        x = softCap4(x, softcap4);
        y = softCap4(y, softcap4);
        store<f32>(q + at, f32x4.extract_lane(y, 0));
      }
      const a = f32x4.sub(x, topP4);
      const b = f32x4.sub(y, topQ4);
      const e = exp4(a);
      sumP += <f64>f32x4.extract_lane(e, 0);
      sumQ += <f64>f32x4.extract_lane(exp4(b), 0);
      mean += <f64>f32x4.extract_lane(f32x4.mul(e, f32x4.sub(a, b)), 0);
    }
  }
  store<f32>(kl, <f32>(mean / sumP) + (log1(<f32>sumQ) - log1(<f32>sumP)));
  const shareP = f32x4.splat(<f32>(1 / sumP));
  const shareQ = f32x4.splat(<f32>(1 / sumQ));
  for (at = 0; at + 16 <= bytes; at += 16) {
    let x = v128.load(p + at);
    const y = v128.load(q + at);
    if (cap) x = softCap4(x, softcap4);
    v128.store(q + at, slope(x, y, topP4, topQ4, shareP, shareQ, cap, softcap4));
  }
  for (; at < bytes; at += 4) {
    let x = v128.load32_splat(p + at);
    const y = v128.load32_splat(q + at);
    if (cap) x = softCap4(x, softcap4);
    store<f32>(q + at, f32x4.extract_lane(slope(x, y, topP4, topQ4, shareP, shareQ, cap, softcap4), 0));
  }
}

/** The gradient by four logits, of which y are the capped values. */
// @ts-ignore: decorator
@inline
function slope(
  x: v128, y: v128, topP: v128, topQ: v128, shareP: v128, shareQ: v128, cap: bool, softcap: v128,
): v128 {
  const p = f32x4.mul(exp4(f32x4.sub(x, topP)), shareP);
  const d = f32x4.sub(f32x4.mul(exp4(f32x4.sub(y, topQ)), shareQ), p);
  return cap ? f32x4.mul(d, softCapSlope4(y, softcap)) : d;
}
