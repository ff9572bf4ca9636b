/**
 * The tier for each edit, under five seconds and without a GPU: one whole Temp-LoRA loop of a tiny model against the golden
 * file, which takes forward, every gradient, AdamW and the bookkeeping; and nothing stays allocated.
 */
import { at } from "../kernels/base/at.ts";
import { fileURLToPath } from "node:url";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { openCpu } from "../engine/backends/cpu/backend.ts";
import { openModelFiles } from "../model/model_files.ts";
import { Llama } from "../model/llama.ts";
import { allTargets } from "../templora/config.ts";
import { readText } from "../templora/api.ts";
import { type TinyGolden, goldenFolder, readGolden } from "./support/golden.ts";

test("six chunks of Temp-LoRA on a tiny Llama give peft's losses to 1e-4", async () => {
  const device = await openCpu({ poison: true });
  const modelFiles = await openModelFiles(fileURLToPath(new URL("tiny-tied", goldenFolder)));
  const model = await Llama.load(device, modelFiles);
  await modelFiles.close();
  const live = device.stats().liveBuffers;
  const loop = at(readGolden<TinyGolden>("tiny-tied/golden.json").loops, 0);
  const { seed, chunk, window, train_window: trainWindow, reuse_cache: _, ...recipe } = loop.recipe;
  const options = { seed, chunk, window, trainWindow, baseline: true, templora: true };
  let index = 0;
  for await (const record of readText(model, Int32Array.from(loop.tokens), {
    ...options,
    recipe: { scaling: "lora", context_grad: true, ...recipe, targets: allTargets },
  })) {
    const want = at(loop.chunks, index++);
    for (const key of ["base_nll", "lora_nll"] as const) {
      const error = Math.abs((record[key] ?? NaN) / want[key] - 1);
      assert.ok(error <= 1e-4, `${key} of chunk ${record.index}: ${record[key]}, peft ${want[key]}`);
    }
  }
  assert.is(index, loop.chunks.length);
  assert.is(device.stats().liveBuffers, live);
  model.dispose();
  assert.is(device.stats().liveBuffers, 0);
  await device.close();
});

test.run();
