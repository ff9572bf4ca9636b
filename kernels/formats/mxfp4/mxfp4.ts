/**
 * MXFP4 as GGUF stores it: 32 elements in {u8 e; u8 qs[16]}, w = 2^(e − 128)·value[q]; low nibbles are elements 0–15, high ones
 * 16–31. The values are twice those of E2M1, and 2^(e − 128) half the E8M0 scale (OCP Microscaling Formats 1.0, section 5).
 */
import type { Format } from "../format.ts";
import { largest, nearest, putNibbles } from "../packing.ts";

const values = [0, 1, 2, 3, 4, 6, 8, 12, -0, -1, -2, -3, -4, -6, -8, -12] as const;

export const mxfp4 = {
  block: 32,
  bytes: 17,
  ggml: 39,
  exponents: { at: [], mask: 0x7c00 },
  widen(view, at, out, to) {
    const d = 2 ** (view.getUint8(at) - 128);
    for (let i = 0; i < 16; i++) {
      const q = view.getUint8(at + 1 + i);
      out[to + i] = d * (values[q & 15] ?? NaN);
      out[to + 16 + i] = d * (values[q >> 4] ?? NaN);
    }
  },
  pack(block, view, at) {
    const top = largest(block);
    const e = top === 0 ? 0 : Math.ceil(Math.log2(top / 12));
    view.setUint8(at, Math.max(0, e + 128));
    putNibbles(view, at + 1, block, (x) => nearest(values, x / 2 ** e));
  },
  // half the widest gap, of 4 in 12, with a step of up to twice what the largest element needs
  loss: (block) => (largest(block) / 12) * 2 * 2 * (1 + 1e-9),
} satisfies Format;
