/** The storage formats of weights on the host: known layouts, and what packing may lose. Bounds follow from the formats. */
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { at, entry } from "../kernels/base/at.ts";
import fc from "./support/fast_check.ts";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { byteLength } from "../kernels/base/dtype.ts";
import {
  type WeightDType,
  brokenBlock,
  formats,
  pack,
  weightDTypes,
  widen,
} from "../kernels/formats/index.ts";
import { SEED, TestRandom } from "./support/rng.ts";

/** The bytes of a binary16, and its value by IEEE 754's formula. */
const bytesOf = (bits: number): Uint8Array => Uint8Array.of(bits & 255, bits >> 8);
function valueOf(bits: number): number {
  const sign = bits & 0x8000 ? -1 : 1;
  const [exponent, fraction] = [(bits >> 10) & 31, bits & 1023];
  if (exponent === 31) return fraction ? NaN : sign * Infinity;
  return sign * (exponent === 0 ? fraction * 2 ** -24 : (1024 + fraction) * 2 ** (exponent - 25));
}

test("f16: every one of the 65,536 values, and its bits back", () => {
  for (let bits = 0; bits < 65536; bits++) {
    const got = at(widen("f16", bytesOf(bits)), 0);
    assert.ok(Object.is(got, valueOf(bits)), `bits ${bits}: ${got}, not ${valueOf(bits)}`);
    if (!Number.isNaN(got)) assert.equal(pack("f16", [got]), bytesOf(bits), `bits ${bits}`);
  }
});

test("f16: any double is rounded to nearest, ties to even", () => {
  const positive = Array.from({ length: 0x7c00 }, (_, bits) => valueOf(bits));
  const check = (value: number): void => {
    const [low = NaN, high = NaN] = pack("f16", [value]);
    const bits = low + 256 * high;
    const got = valueOf(bits);
    const size = Math.abs(value);
    if (Number.isNaN(value)) assert.ok(Number.isNaN(got));
    else if (size >= 65520) assert.is(got, Math.sign(value) * Infinity);
    else {
      assert.is(bits >> 15, value < 0 || Object.is(value, -0) ? 1 : 0, `sign of ${value}`);
      const place = bits & 0x7fff;
      for (const other of [place - 1, place + 1].filter((one) => one in positive)) {
        const [mine, theirs] = [Math.abs(size - at(positive, place)), Math.abs(size - at(positive, other))];
        assert.ok(mine < theirs || (mine === theirs && place % 2 === 0), `${value} became ${got}`);
      }
    }
  };
  fc.assert(fc.property(fc.double(), check), { seed: SEED, numRuns: 2000 });
  fc.assert(fc.property(fc.double({ min: -70000, max: 70000 }), check), { seed: SEED, numRuns: 5000 });
  for (let bits = 0; bits < 0x7bff; bits++) check((valueOf(bits) + valueOf(bits + 1)) / 2); // all the ties
  for (const value of [65519.99, 65520, 2 ** -25, 1.0001 * 2 ** -25, 0, -0, Infinity, NaN]) check(value);
});

for (const dtype of weightDTypes) {
  const format = formats[dtype];
  test(`${dtype}: pack, then widen, loses no more than the format must`, () => {
    for (const scale of [1e-3, 1, 30]) {
      const random = new TestRandom(SEED, `${dtype} ${scale}`);
      const values = Array.from({ length: 64 * 32 }, () => Math.fround(scale * random.normal()));
      const bytes = pack(dtype, values);
      assert.is(bytes.length, byteLength(dtype, values.length));
      const back = widen(dtype, bytes);
      assert.is(back.length, values.length);
      values.forEach((x, i) => {
        const start = i - (i % format.block);
        const bound = format.loss(values.slice(start, start + format.block), x);
        const error = Math.abs(at(back, i) - x);
        assert.ok(
          error <= bound,
          `element ${i} (seed ${SEED}): ${x} became ${back[i]}, the bound is ${bound}`,
        );
      });
    }
  });

  test(`${dtype}: zeros stay zeros${format.block === 1 ? ", and widened values are packed without loss" : ""}`, () => {
    assert.ok(widen(dtype, pack(dtype, new Float64Array(512))).every((x) => x === 0));
    if (format.block > 1) return; // a block packed again may get another scale
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

for (const dtype of weightDTypes) {
  test(`${dtype}: a block with a value that is not finite is found, and no other`, () => {
    const size = formats[dtype].bytes;
    const find = (bytes: Uint8Array): void => {
      const broken = (some: Uint8Array): boolean => !widen(dtype, some).every(Number.isFinite);
      const found = brokenBlock(dtype, bytes);
      assert.is(found >= 0, broken(bytes));
      if (found >= 0) assert.ok(broken(bytes.subarray(found * size, (found + 1) * size)));
    };
    const blocks = fc.uint8Array({ minLength: 40 * size, maxLength: 40 * size });
    fc.assert(fc.property(blocks, find), { seed: SEED, numRuns: 200 });
    const largest = { f16: 65504, bf16: 3.3895313892515355e38, f32: 3.4028234663852886e38 };
    const top = dtype in largest ? largest[dtype as keyof typeof largest] : 65504;
    find(pack(dtype, new Array<number>(512).fill(top)));
    find(pack(dtype, new Array<number>(512).fill(-top)));
  });
}

const half = (x: number): number[] => [...pack("f16", [x])];
const bytes16 = Array.from({ length: 16 }, (_, i) => (i << 4) | (15 - i)); // low nibbles 15…0, high nibbles 0…15

const finite = Array.from({ length: 65536 }, (_, bits) => bits).filter((bits) => ((bits >> 10) & 31) !== 31);

/** The blocks of test/golden/make_formats.py: every finite bit pattern of each scale, everything else random. */
function goldenBlocks(dtype: WeightDType): Uint8Array {
  const { bytes, ggml, exponents } = formats[dtype];
  let x = ggml;
  const few = Uint8Array.from({ length: 257 * bytes }, () => {
    x = (Math.imul(1664525, x) + 1013904223) >>> 0;
    return x >>> 24;
  });
  const made = new Uint8Array(finite.length * bytes);
  const view = new DataView(made.buffer);
  for (let b = 0; b < finite.length; b++) {
    made.set(few.subarray((b % 257) * bytes, ((b % 257) + 1) * bytes), b * bytes);
    for (const [nth, place] of exponents.at.entries())
      view.setUint16(b * bytes + place, at(finite, (nth === 0 ? b : 31 * b + 7 * nth) % finite.length), true);
  }
  return made;
}

const golden = JSON.parse(readFileSync(new URL("golden/formats.json", import.meta.url), "utf8")) as Record<
  string,
  { readonly sha256: string; readonly first: readonly number[] }
>;
for (const dtype of weightDTypes.filter((name) => formats[name].block > 1)) {
  test(`${dtype}: every scale widens to what the gguf package's reader gives`, () => {
    const { block, bytes } = formats[dtype];
    const { sha256, first } = entry(golden, dtype);
    const blocks = goldenBlocks(dtype);
    const one = widen(dtype, blocks.subarray(0x3c01 * bytes, 0x3c02 * bytes));
    assert.equal(
      [...one].map((value) => Math.fround(value) + 0),
      first,
    );
    const hash = createHash("sha256");
    const step = 4096;
    for (let b = 0; b < finite.length; b += step) {
      const values = widen(dtype, blocks.subarray(b * bytes, (b + step) * bytes));
      assert.is(values.length % block, 0);
      hash.update(new Uint8Array(Float32Array.from(values, (value) => Math.fround(value) + 0).buffer)); // no -0
    }
    assert.is(hash.digest("hex"), sha256);
  });
}

test("each format has a GGUF number of its own", () => {
  assert.is(new Set(weightDTypes.map((dtype) => formats[dtype].ggml)).size, weightDTypes.length);
});

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
