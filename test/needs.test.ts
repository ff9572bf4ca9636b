/** How much memory a run takes is known before it begins: what a device that only counts finds is what the real one has used. */
import { fileURLToPath } from "node:url";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { openCpu } from "../engine/backends/cpu/backend.ts";
import { Llama } from "../model/llama.ts";
import { openModelFiles } from "../model/model_files.ts";
import { assertFits } from "../cli/memory.ts";
import { generate, readText } from "../templora/api.ts";
import { atMost, needsOf } from "../templora/needs.ts";
import { goldenFolder } from "./support/golden.ts";

const test = suite("needs");
const path = fileURLToPath(new URL("tiny-untied", goldenFolder));
const recipe = { rank: 8, alpha: 8, dropout: 0 };

for (const threads of [1, 2])
  for (const [what, length, options] of [
    ["a text is read", { tokens: 150, writes: false }, { chunk: 32, window: 40, recipe }],
    [
      "one with dropout, the first layers computed again",
      { tokens: 100, writes: false },
      { chunk: 24, window: 24, recipe: { ...recipe, dropout: 0.1 }, checkpointLayers: 2 },
    ],
    [
      "the context without a gradient",
      { tokens: 100, writes: false },
      { chunk: 24, window: 24, recipe: { ...recipe, context_grad: false } },
    ],
    ["the base model reads", { tokens: 90, writes: false }, { chunk: 32, window: 40, templora: false }],
    ["a text shorter than a chunk", { tokens: 20, writes: false }, { chunk: 32, window: 40, recipe }],
    ["a text is written", { tokens: 150, writes: true }, { chunk: 32, window: 40, recipe }],
  ] as const)
    test(`${threads} thread(s): ${what}`, async () => {
      await using device = await openCpu({ threads });
      await using modelFiles = await openModelFiles(path);
      const { weights, rest } = await needsOf(device, modelFiles, options, length);
      assert.is(device.stats().allocations, 0, "nothing is taken for it");
      using model = await Llama.load(device, modelFiles);
      const ids = Int32Array.from({ length: length.tokens }, (_, i) => (i * 29) % 277);
      const { baseline: _, ...writing } = { baseline: false, ...options };
      const run = length.writes
        ? generate(model, ids.subarray(0, 100), { ...writing, tokens: 50 })
        : readText(model, ids, options);
      for await (const event of run) void event;
      const used = device.stats().peakBytes;
      const share = (weights + rest) / used; // the device tells what is in use, without the gaps between
      assert.ok(share > 0.99 && share < 1.05, `${weights + rest} counted, ${used} used`);
      assert.ok(atMost(modelFiles, options, length) >= used, "the bound that takes no time");
    });

test("a run that does not fit says so before it begins, with what would make it fit", async () => {
  await using device = await openCpu({ threads: 1 });
  await using modelFiles = await openModelFiles(path);
  const options = { chunk: 64, window: 128, trainWindow: 128, recipe };
  const length = { tokens: 1000, writes: false };
  const refusal = (most: number): Promise<string> =>
    assertFits(device, modelFiles, options, length, { most, why: "that there are" }).then(
      () => "fits",
      (error: Error) => error.message,
    );
  const { weights, rest } = await needsOf(device, modelFiles, options, length);
  assert.is(await refusal(weights + rest), "fits");
  const message = await refusal(weights + rest - 1);
  assert.match(
    message,
    /^this run needs [\d.]+ MiB on the cpu device \(weights [\d.]+ .iB; adapter, cache and activations [\d.]+ MiB\), more than the [\d.]+ MiB that there are; with --checkpoint-layers 3 it is /,
  );
  const half = await refusal(weights + rest / 2.5);
  const [, layers, chunk, window] =
    /with --checkpoint-layers (\d+) --chunk (\d+) --window (\d+) it is /.exec(half) ?? [];
  assert.ok(Number(chunk) < 64 && Number(window) < 128 && layers === "3", half);
  const less = {
    ...options,
    chunk: Number(chunk),
    window: Number(window),
    trainWindow: Number(window),
    checkpointLayers: 3,
  };
  const then = await needsOf(device, modelFiles, less, length);
  assert.ok(then.weights + then.rest <= weights + rest / 2.5, "the advice serves");
  assert.match(await refusal(weights - 1), /a model in a smaller format, or --device webgpu/);
});

test.run();
