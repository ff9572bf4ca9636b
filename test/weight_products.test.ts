/**
 * One row times blocks of each weight format at the ends of its range: scales that are subnormal, 0 or the largest, against sums in float64 of what the
 * host widens (which test/weight_formats.test.ts holds to the gguf package); and tiny activations.
 */
import { test } from "uvu";
import * as assert from "uvu/assert";
import { at } from "../kernels/base/at.ts";
import { type WeightDType, formats, pack, weightDTypes, widen } from "../kernels/formats/index.ts";
import { kernels } from "../kernels/index.ts";
import { openTestCpus } from "./support/backends.ts";
import { SEED, TestRandom } from "./support/rng.ts";

const devices = await openTestCpus();
const [N, K] = [64, 256];

/** c [N] = w [N, K] · a [K], w as it is stored. */
async function dotted(
  device: (typeof devices)[number]["device"],
  dtype: WeightDType,
  w: Uint8Array,
  a: Float32Array,
): Promise<Float32Array> {
  const buffers = [
    ["f32", K],
    [dtype, N * K],
    ["f32", N],
  ] as const;
  const [va, vw, vc] = buffers.map(([type, length]) => ({
    buffer: device.allocate(type, length, "t"),
    offset: 0,
    length,
  }));
  if (!va || !vw || !vc) throw new Error("three buffers");
  device.write(va, a);
  device.write(vw, w);
  device.run({
    kernel: kernels.matmul_nt,
    slots: { a: va, w: vw, c: vc },
    dims: { M: 1, N, K },
    params: { alpha: 1 },
  });
  const got = new Float32Array(await device.read(vc));
  for (const { buffer } of [va, vw, vc]) device.free(buffer);
  return got;
}

/** Of a binary16: subnormal, the least normal, 0, the largest. */
const scales = [0x0001, 0x03ff, 0x0400, 0x8001, 0x83ff, 0x0000, 0x7bff, 0xfbff];

for (const dtype of weightDTypes.filter((d) => formats[d].block > 1)) {
  test(`${dtype}: a row dotted with blocks of the least and largest scales`, async () => {
    const { block, bytes, exponents } = formats[dtype];
    const random = new TestRandom(SEED, dtype);
    const made = Uint8Array.from({ length: ((N * K) / block) * bytes }, () => random.below(256));
    const view = new DataView(made.buffer);
    for (let n = 0, b = 0; n < N; n++)
      for (let i = 0; i < K / block; i++, b++) {
        for (const [nth, place] of exponents.at.entries())
          view.setUint16(b * bytes + place, at(scales, (n + 3 * nth) % 8), true);
        if (dtype === "mxfp4") made[b * bytes] = n; // 2^(n - 128)
      }
    const w = widen(dtype, made);
    const a = Float32Array.from({ length: K }, () => 2 ** 40 * random.normal());
    for (const { name, device } of devices)
      (await dotted(device, dtype, made, a)).forEach((got, n) => {
        let [want, size] = [0, 0];
        for (let k = 0; k < K; k++) {
          const p = at(a, k) * at(w, n * K + k);
          want += p;
          size += Math.abs(p);
        }
        // rounding of activations and sums takes 2e-7 of the size
        assert.ok(Math.abs(got - want) <= 1e-6 * size, `${name} row ${n}: ${got}, not ${want} (${size})`);
      });
  });
  test(`${dtype}: 2^-40 times the activations give 2^-40 times the products, bit for bit`, async () => {
    const random = new TestRandom(SEED, dtype);
    const w = pack(
      dtype,
      Array.from({ length: N * K }, () => random.normal()),
    );
    const a = Float32Array.from({ length: K }, () => random.normal());
    for (const { device } of devices)
      assert.equal(
        (
          await dotted(
            device,
            dtype,
            w,
            a.map((x) => x * 2 ** -40),
          )
        ).map((x) => x * 2 ** 40),
        await dotted(device, dtype, w, a),
      );
  });
}

test.after(async () => {
  for (const { device } of devices) await device.close();
});

test.run();
