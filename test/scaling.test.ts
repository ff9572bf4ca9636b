/** What a LoRA's scale is beside a layer (--scaling): of the rank, of its root, or of the weight's rows, whose size a sample tells. */
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { type WeightDType, pack, widen } from "../kernels/formats/index.ts";
import { linearNames } from "../model/layers.ts";
import { openModelFiles } from "../model/model_files.ts";
import { RowNorms } from "../model/row_norms.ts";
import { tensorsOf } from "../model/family.ts";
import { type Recipe, recipes } from "../templora/config.ts";
import { Session, loadAdapter, loadModel, saveAdapter } from "../templora/index.ts";
import { openTestDevices } from "./support/backends.ts";
import { goldenFolder } from "./support/golden.ts";
import { temporaryFolder } from "./support/model_files.ts";
import { SEED, TestRandom } from "./support/rng.ts";

const test = suite("scaling");
const tiny = fileURLToPath(new URL("tiny-tied", goldenFolder));
const ids = Int32Array.from({ length: 48 }, (_, t) => (t * 29 + (t >> 3) * 5) % 256);
const recipe: Recipe = { ...recipes.paper, rank: 4, alpha: 3, dropout: 0, lr: 2e-2, warmup: 0, epochs: 1 };

/** The root of the mean of the rows' squared norms, in float64. */
function exact(values: Float64Array, rows: number): number {
  return Math.sqrt(values.reduce((sum, x) => sum + x * x, 0) / rows);
}

for (const [dtype, shape] of [
  ["f32", [512, 100]],
  ["bf16", [300, 576]],
  ["q8_0", [1536, 576]],
  ["q4_k", [512, 1024]],
] as const satisfies readonly (readonly [WeightDType, readonly [number, number]])[]) {
  test(`the size of rows of ${dtype}[${shape.join(", ")}], some columns of which are large, to 10 %, and the same in parts`, () => {
    const random = new TestRandom(SEED, `rows ${dtype}`);
    const [rows, width] = shape;
    const values = Array.from(
      { length: rows * width },
      (_, i) => random.normal() * (i % width < 4 ? 3 : 0.3),
    );
    const bytes = pack(dtype, values);
    const whole = new RowNorms(dtype, shape);
    whole.add(0, bytes);
    const want = exact(widen(dtype, bytes), rows);
    // of q8_0, a sample has 112 numbers of the large columns, which make two fifths of the sum: σ is 3 %
    assert.ok(Math.abs(whole.mean / want - 1) < 0.1, `${whole.mean} for ${want}`);
    const parts = new RowNorms(dtype, shape);
    const cut = bytes.length / rows; // a row
    for (const [from, to] of [
      [0, 7],
      [7, 260],
      [260, rows],
    ] as const)
      parts.add(from * width, bytes.subarray(from * cut, to * cut));
    assert.is(parts.mean, whole.mean);
  });
}

test("a matrix of zeros, or none, has size 1: a LoRA beside it can learn", () => {
  const norms = new RowNorms("f32", [2, 4]);
  assert.is(norms.mean, 1);
  norms.add(0, new Uint8Array(32));
  assert.is(norms.mean, 1);
});

const devices = await openTestDevices();
const folder = temporaryFolder();
test.after(async () => {
  for (const { device } of devices) await device.close();
});

for (const { name, device } of devices) {
  test(`${name}: alpha / rank, times 1, the rank's root or the rows' size; peft is told so`, async () => {
    using model = await loadModel(device, tiny);
    await using files = await openModelFiles(tiny);
    const specs = tensorsOf(files.family, files.config).layers;
    for (const scaling of ["lora", "rslora", "weight"] as const) {
      using session = new Session(model, { chunk: 24, window: 24, recipe: { ...recipe, scaling } });
      session.prefill(ids);
      await session.learn();
      const stored = await session.storedAdapter();
      const path = join(folder, scaling);
      await saveAdapter(session, path);
      const loaded = await loadAdapter(model, path);
      assert.equal(loaded.layout, stored.layout);
      for (const [i, spec] of specs.entries()) {
        for (const target of linearNames) {
          const { name: tensor } = spec[target];
          const { dtype = "f32", shape = [] } = files.tensors.get(tensor) ?? {};
          const times = {
            lora: 1,
            rslora: 2,
            weight: exact(widen(dtype, await files.read(tensor)), shape[0] ?? 0),
          };
          const want = (recipe.alpha / recipe.rank) * times[scaling];
          const { scale = NaN } = stored.layout[i]?.get(target) ?? {};
          assert.ok(Math.abs(scale / want - 1) < 1e-6, `${scaling}, ${tensor}: ${scale}, not ${want}`);
        }
      }
      assert.is(loaded.config.use_rslora, scaling === "rslora");
      using again = new Session(model, { adapter: loaded, chunk: 24, window: 24, recipe: { epochs: 0 } });
      assert.is(
        again.options.recipe.scaling,
        scaling === "rslora" ? "rslora" : "lora",
        "a file's scales are its own",
      );
    }
  });
}

test.run();
