/** IEEE binary32, as activations are stored. */
import type { Format } from "../format.ts";

export const f32 = {
  block: 1,
  bytes: 4,
  ggml: 0,
  safetensors: "F32",
  exponents: { at: [2], mask: 0x7f80 },
  widen(view, at, out, to) {
    out[to] = view.getFloat32(at, true);
  },
  pack([x = NaN], view, at) {
    view.setFloat32(at, x, true);
  },
  loss: () => 0, // the values are f32 already
} satisfies Format;
