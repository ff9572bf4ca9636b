/** GGUF's q8_0: 32 elements in {f16 d; i8 qs[32]}, w = d·q. */
import { getFloat16, setFloat16 } from "../float16.ts";
import type { Format } from "../format.ts";
import { largest } from "../packing.ts";

export const q8_0 = {
  block: 32,
  bytes: 34,
  ggml: 8,
  exponents: { at: [0], mask: 0x7c00 },
  widen(view, at, out, to) {
    const d = getFloat16(view, at, true);
    for (let i = 0; i < 32; i++) out[to + i] = d * view.getInt8(at + 2 + i);
  },
  pack(values, view, at) {
    const d = largest(values) / 127;
    setFloat16(view, at, d, true);
    values.forEach((x, i) => view.setInt8(at + 2 + i, d === 0 ? 0 : Math.round(x / d)));
  },
  // half a step, and 127 steps times the rounding of the step to binary16
  loss: (values) => (largest(values) / 127) * (0.5 + 127 * 2 ** -11) + 127 * 2 ** -25,
} satisfies Format;
