/** IEEE binary16. */
import { getFloat16, setFloat16 } from "../float16.ts";
import type { Format } from "../format.ts";

export const f16 = {
  block: 1,
  bytes: 2,
  ggml: 1,
  safetensors: "F16",
  exponents: { at: [0], mask: 0x7c00 },
  widen(view, at, out, to) {
    out[to] = getFloat16(view, at, true);
  },
  pack([x = NaN], view, at) {
    setFloat16(view, at, x, true);
  },
  loss: (_, x) => Math.max(2 ** -11 * Math.abs(x), 2 ** -25),
} satisfies Format;
