/** Element-wise comparison within |got − want| ≤ abs + rel·|want|. */

export interface Mismatch {
  readonly index: number;
  readonly got: number;
  readonly want: number;
  readonly bound: number;
  /** How many elements are out of bounds. */
  readonly count: number;
}

/** The element that misses its bound by the largest factor, or undefined when all are within. */
export function worstMismatch(
  got: ArrayLike<number>,
  want: ArrayLike<number>,
  { rel, abs }: { readonly rel: number; readonly abs: number },
): Mismatch | undefined {
  let worst: Omit<Mismatch, "count"> | undefined;
  let excess = 1;
  let count = 0;
  for (let index = 0; index < want.length; index++) {
    const bound = abs + rel * Math.abs(at(want, index));
    const error = Math.abs(at(got, index) - at(want, index));
    if (error <= bound || Object.is(got[index], want[index])) continue;
    count++;
    const factor = Number.isNaN(error) || bound === 0 ? Infinity : error / bound;
    if (factor <= excess && worst) continue;
    excess = factor;
    worst = { index, got: at(got, index), want: at(want, index), bound };
  }
  return worst && { ...worst, count };
}

/** The largest |got − want| / bound: how much of a tolerance is used. */
export function usedShare(
  got: ArrayLike<number>,
  want: ArrayLike<number>,
  { rel, abs }: { readonly rel: number; readonly abs: number },
): number {
  let share = 0;
  for (let i = 0; i < want.length; i++) {
    const error = Math.abs(at(got, i) - at(want, i));
    if (error > 0) share = Math.max(share, error / (abs + rel * Math.abs(at(want, i))));
  }
  return share;
}

/** The first place where two byte sequences differ, or -1. */
export function firstDifference(a: Uint8Array, b: Uint8Array): number {
  if (Buffer.compare(a, b) === 0) return -1;
  const index = a.findIndex((byte, i) => byte !== b[i]);
  return index < 0 ? Math.min(a.length, b.length) : index;
}
import { at } from "../../kernels/base/at.ts";
