/** Packs 32 values as GGUF's 4-bit blocks do: the first 16 in low nibbles, the others in high ones. */
import { at as element } from "../base/at.ts";
export function putNibbles(
  view: DataView,
  at: number,
  values: readonly number[],
  stepsOf: (x: number) => number,
): void {
  const nibble = (i: number): number => Math.min(15, Math.max(0, Math.round(stepsOf(element(values, i)))));
  for (let i = 0; i < 16; i++) view.setUint8(at + i, nibble(i) | (nibble(i + 16) << 4));
}
