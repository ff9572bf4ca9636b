/** The eight pairs of 6-bit numbers, a scale and a minimum for each group, that q4_K and q5_K pack into 12 bytes. */
import { orBits } from "./packing.ts";

export function sixBits(view: DataView, at: number, g: number): [scale: number, minimum: number] {
  const byte = (i: number): number => view.getUint8(at + i);
  if (g < 4) return [byte(g) & 63, byte(g + 4) & 63];
  const both = byte(g + 4);
  return [(both & 15) | ((byte(g - 4) >> 6) << 4), (both >> 4) | ((byte(g) >> 6) << 4)];
}

/** Into bytes that are 0. */
export function putSixBits(view: DataView, at: number, g: number, scale: number, minimum: number): void {
  if (g < 4) {
    orBits(view, at + g, 0, scale);
    orBits(view, at + g + 4, 0, minimum);
  } else {
    orBits(view, at + g + 4, 0, (scale & 15) | ((minimum & 15) << 4));
    orBits(view, at + g - 4, 6, scale >> 4);
    orBits(view, at + g, 6, minimum >> 4);
  }
}
