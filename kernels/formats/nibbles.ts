/** Packs 32 values as GGUF's 4-bit blocks do: the first 16 in low nibbles, the others in high ones. */
export function putNibbles(
  view: DataView,
  at: number,
  values: readonly number[],
  stepsOf: (x: number) => number,
): void {
  const q = values.map((x) => Math.min(15, Math.max(0, Math.round(stepsOf(x)))));
  for (let i = 0; i < 16; i++) view.setUint8(at + i, q[i] | (q[i + 16] << 4));
}
