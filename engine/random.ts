/**
 * The one generator: counter-based, so a value is a function of where it is used, and the same on every device.
 * Threefry-2x32-20 (Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3"); word i of a stream is
 * key (seed, stream), counter (i >> 1, step), output word i & 1.
 */
import { threefry2x32 } from "../kernels/shared/threefry.ts";

/** What a stream is for: the top byte of its number. */
export const Purpose = { init: 0, dropout: 1, sampling: 2, recall: 3, replay: 4 } as const;

/** The stream number of one place of use; `index` < 2²⁴. */
export function stream(purpose: (typeof Purpose)[keyof typeof Purpose], index: number): number {
  return ((purpose << 24) | index) >>> 0;
}

/** `count` uniform values in [0, 1), multiples of 2⁻²⁴. */
export function uniforms(seed: number, streamNumber: number, step: number, count: number): Float64Array {
  const out = new Float64Array(count);
  for (let i = 0; i < count; i += 2) {
    const [first, second] = threefry2x32(seed, streamNumber, i >>> 1, step);
    out[i] = (first >>> 8) * 2 ** -24;
    if (i + 1 < count) out[i + 1] = (second >>> 8) * 2 ** -24;
  }
  return out;
}
