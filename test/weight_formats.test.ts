/** The storage formats of weights on the host: known layouts, and what packing may lose. Bounds follow from the formats. */
import { getFloat16, setFloat16 } from "@petamoriken/float16";
import fc from "fast-check";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { type WeightDType, byteLength, dtypes, weightDTypes } from "../kernels/base/dtype.ts";
import { float16 } from "../kernels/shared/float16.ts";
import { pack, widen } from "../kernels/shared/weight_formats.ts";
import { SEED, TestRandom } from "./support/rng.ts";

test("float16 gives every one of the 65,536 values, and its bits back", () => {
  const view = new DataView(new ArrayBuffer(2));
  for (let bits = 0; bits < 65536; bits++) {
    view.setUint16(0, bits);
    const want = getFloat16(view, 0);
    assert.ok(Object.is(float16(bits), want), `bits ${bits}: ${float16(bits)}, not ${want}`);
    if (!Number.isNaN(want)) assert.is(float16.bits(want), bits);
  }
});

test("float16.bits rounds any double to nearest, ties to even", () => {
  const view = new DataView(new ArrayBuffer(2));
  const check = (value: number): void => {
    setFloat16(view, 0, value);
    const got = float16.bits(value);
    if (Number.isNaN(value)) assert.ok(Number.isNaN(float16(got)));
    else assert.is(got, view.getUint16(0), `of ${value}`);
  };
  fc.assert(fc.property(fc.double(), check), { seed: SEED, numRuns: 2000 });
  fc.assert(fc.property(fc.double({ min: -70000, max: 70000 }), check), { seed: SEED, numRuns: 5000 });
  for (let bits = 0; bits < 0x7bff; bits++) check((float16(bits) + float16(bits + 1)) / 2); // all the ties
  for (const value of [65519.99, 65520, 2 ** -25, 1.0001 * 2 ** -25, 0, -0, Infinity]) check(value);
});

/** Largest |widened − value| of one block that holds `values`. */
const allowed: { readonly [D in WeightDType]: (values: readonly number[], x: number) => number } = {
  f32: () => 0, // the values are f32 already
  f16: (_, x) => Math.max(2 ** -11 * Math.abs(x), 2 ** -25),
  bf16: (_, x) => 2 ** -8 * Math.abs(x),
  // half a step, and 16 (or 127) steps times the rounding of the step to binary16; q4_0 has no +8: it stops at +7
  q4_0: (values) => (largest(values) / 8) * (1 + 16 * 2 ** -11) + 1e-6,
  q4_1: (values) => (range(values) / 15) * (0.5 + 15 * 2 ** -11) + largest(values) * 2 ** -11 + 1e-6,
  q8_0: (values) => (largest(values) / 127) * (0.5 + 127 * 2 ** -11) + 127 * 2 ** -25,
};
const largest = (values: readonly number[]): number => Math.max(...values.map(Math.abs));
const range = (values: readonly number[]): number => Math.max(...values) - Math.min(...values);

for (const dtype of weightDTypes) {
  const { block } = dtypes[dtype];
  test(`${dtype}: pack, then widen, loses no more than the format must`, () => {
    for (const scale of [1e-3, 1, 30]) {
      const random = new TestRandom(SEED, `${dtype} ${scale}`);
      const values = Array.from({ length: 64 * 32 }, () => Math.fround(scale * random.normal()));
      const bytes = pack(dtype, values);
      assert.is(bytes.length, byteLength(dtype, values.length));
      const back = widen(dtype, bytes);
      assert.is(back.length, values.length);
      values.forEach((x, i) => {
        const start = i - (i % block);
        const bound = allowed[dtype](values.slice(start, start + block), x);
        const error = Math.abs(back[i] - x);
        assert.ok(
          error <= bound,
          `element ${i} (seed ${SEED}): ${x} became ${back[i]}, the bound is ${bound}`,
        );
      });
    }
  });

  test(`${dtype}: zeros stay zeros${block === 1 ? ", and widened values are packed without loss" : ""}`, () => {
    assert.ok(widen(dtype, pack(dtype, new Float64Array(64))).every((x) => x === 0));
    if (block > 1) return; // a block packed again may get another scale
    const random = new TestRandom(SEED, dtype);
    const once = widen(
      dtype,
      pack(
        dtype,
        Array.from({ length: 2048 }, () => random.normal()),
      ),
    );
    assert.equal(widen(dtype, pack(dtype, once)), once);
  });
}

/** Bytes of a binary16, little-endian. */
const half = (x: number): number[] => [float16.bits(x) & 255, float16.bits(x) >> 8];
const bytes16 = Array.from({ length: 16 }, (_, i) => (i << 4) | (15 - i)); // low nibbles 15…0, high nibbles 0…15

test("block layouts are GGUF's: low nibbles first, then high ones", () => {
  const low = Array.from({ length: 16 }, (_, i) => 15 - i);
  const high = Array.from({ length: 16 }, (_, i) => i);
  const q4_0 = widen("q4_0", Uint8Array.from([...half(0.5), ...bytes16]));
  assert.equal(
    [...q4_0],
    [...low, ...high].map((q) => 0.5 * (q - 8)),
  );
  const q4_1 = widen("q4_1", Uint8Array.from([...half(0.5), ...half(-3), ...bytes16]));
  assert.equal(
    [...q4_1],
    [...low, ...high].map((q) => 0.5 * q - 3),
  );
  const signed = Array.from({ length: 32 }, (_, i) => 8 * i - 128);
  const q8_0 = widen("q8_0", Uint8Array.from([...half(0.25), ...signed.map((q) => q & 255)]));
  assert.equal(
    [...q8_0],
    signed.map((q) => 0.25 * q),
  );
  assert.equal([...widen("bf16", Uint8Array.of(0x80, 0x3f, 0x20, 0xc1))], [1, -10]);
});

test.run();
