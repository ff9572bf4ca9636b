/** bfloat16: the upper half of a binary32. */
import type { Format } from "../format.ts";

/** The bits of a float. */
const word = new DataView(new ArrayBuffer(4));

export const bf16 = {
  block: 1,
  bytes: 2,
  ggml: 30,
  safetensors: "BF16",
  exponents: { at: [0], mask: 0x7f80 },
  widen(view, at, out, to) {
    word.setUint32(0, view.getUint16(at, true) << 16);
    out[to] = word.getFloat32(0);
  },
  pack([x = NaN], view, at) {
    word.setFloat32(0, x);
    const bits = word.getUint32(0);
    view.setUint16(at, (bits + 0x7fff + ((bits >>> 16) & 1)) >>> 16, true);
  },
  loss: (_, x) => 2 ** -8 * Math.abs(x),
} satisfies Format;
