/**
 * How packing chooses scales and minimums for the K-formats that have both: w = d·scale·q − dmin·minimum, with whole scales and
 * minimums for each part of a block.
 */
import { largest, parts, putScale } from "./packing.ts";

export interface Scaled {
  readonly scale: number;
  readonly minimum: number;
  /** q of an element, before rounding. */
  readonly steps: (x: number) => number;
}

/** For parts of `size` elements: q up to `most`, scales and minimums up to `top`; d is written at `at`, dmin behind it. */
export function scaleParts(
  values: readonly number[],
  size: number,
  most: number,
  top: number,
  view: DataView,
  at: number,
): readonly Scaled[] {
  const all = parts(values, size);
  const depths = all.map((part) => Math.max(0, -Math.min(...part)));
  const dmin = putScale(view, at + 2, Math.max(...depths) / top);
  const minimums = depths.map((depth) => (dmin === 0 ? 0 : Math.min(top, Math.ceil(depth / dmin))));
  const heights = all.map((part, i) => Math.max(0, Math.max(...part) + dmin * (minimums[i] ?? NaN)) / most);
  const d = putScale(view, at, Math.max(...heights) / top);
  return heights.map((height, i) => {
    const scale = d === 0 ? 0 : Math.min(top, Math.ceil(height / d));
    const minimum = minimums[i] ?? NaN;
    return { scale, minimum, steps: (x) => (scale === 0 ? 0 : (x + dmin * minimum) / (d * scale)) };
  });
}

/**
 * Half a step. A step is (the largest element + a minimum that is up to dmin too deep) / most, and up to d too long; d and dmin are
 * at most 2⁻¹⁰ of themselves, or 2⁻²⁴, too long.
 */
export function partLoss(values: readonly number[], most: number, top: number): number {
  const [high, deep] = [Math.max(0, ...values), Math.max(0, -Math.min(...values))];
  const grown = (x: number): number => x * (1 + 1 / top) * (1 + 2 ** -10) + (top + 1) * 2 ** -24;
  return Math.min(grown((high + grown(deep)) / most) / 2 + 1e-7, largest(values) * 2 + 1e-6);
}
