/** Packs 32 values as GGUF's 4-bit blocks do: the first 16 in low nibbles, the others in high ones. */
export function putNibbles(
  view: DataView,
  at: number,
  values: readonly number[],
  stepsOf: (x: number) => number,
): void {
  values.forEach((x, i) => {
    const q = Math.min(15, Math.max(0, Math.round(stepsOf(x))));
    const byte = at + (i % 16);
    view.setUint8(byte, i < 16 ? q : view.getUint8(byte) | (q << 4));
  });
}
