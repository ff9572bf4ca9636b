/** What packing into block formats shares. For tests and test models: simple ways, not the best ones. */
import { f16round } from "@petamoriken/float16";
import { setFloat16 } from "./float16.ts";

/** Writes `x` ≥ 0 as the next binary16 that is not below it, so that what is divided by it stays in range; returns it. */
export function putScale(view: DataView, at: number, x: number): number {
  const near = f16round(x);
  const scale = near >= x ? near : f16round(near * (1 + 2 ** -10) + 2 ** -24);
  setFloat16(view, at, scale, true);
  return scale;
}

/** Packs 32 values as GGUF's 4-bit blocks do: the first 16 in low nibbles, the others in high ones. */
export function putNibbles(
  view: DataView,
  at: number,
  values: readonly number[],
  stepsOf: (x: number) => number,
): void {
  values.forEach((x, i) => orNibble(view, at + (i % 16), i >= 16, clamped(stepsOf(x), 0, 15)));
}

/** Where bits are: a byte of the block, and the lowest of them in it. */
export type Place = readonly [byte: number, from: number];

export function bitsAt(view: DataView, at: number, [byte, from]: Place, mask: number): number {
  return (view.getUint8(at + byte) >> from) & mask;
}

/** Puts a nibble into a byte that has 0 there. */
export function orNibble(view: DataView, byte: number, high: boolean, nibble: number): void {
  orBits(view, byte, high ? 4 : 0, nibble);
}

/** Puts bits into a byte that has 0 there. */
export function orBits(view: DataView, byte: number, from: number, bits: number): void {
  view.setUint8(byte, view.getUint8(byte) | (bits << from));
}

/** The whole number in [low, high] nearest to x. */
export function clamped(x: number, low: number, high: number): number {
  return Math.min(high, Math.max(low, Math.round(x)));
}

/** Index of the number nearest to x. */
export function nearest(choices: readonly number[], x: number): number {
  return choices.reduce(
    (best, y, i) => (Math.abs(y - x) < Math.abs((choices[best] ?? NaN) - x) ? i : best),
    0,
  );
}

export const largest = (values: readonly number[]): number =>
  values.reduce((most, x) => Math.max(most, Math.abs(x)), 0);

/** The value of largest size, with its sign. */
export const extreme = (values: readonly number[]): number =>
  values.reduce((a, b) => (Math.abs(b) > Math.abs(a) ? b : a), 0);

/** Parts of a block that have scales of their own. */
export function parts(values: readonly number[], size: number): readonly (readonly number[])[] {
  return Array.from({ length: values.length / size }, (_, i) => values.slice(i * size, (i + 1) * size));
}
