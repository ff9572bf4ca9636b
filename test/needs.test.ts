/** How much memory a run takes is known before it begins: what a device that only counts finds is what the real one has used. */
import { fileURLToPath } from "node:url";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { openCpu } from "../engine/backends/cpu/backend.ts";
import { openWebGpuDevice } from "../engine/backends/webgpu/backend.ts";
import { at } from "../kernels/base/at.ts";
import type { Device, DeviceLimits } from "../engine/device.ts";
import { CountingDevice } from "../engine/backends/counting.ts";
import { linearCrossEntropy } from "../engine/ops/index.ts";
import { record } from "../engine/tape.ts";
import { Task } from "../engine/task.ts";
import { Llama } from "../model/llama.ts";
import { configured, openModelFiles } from "../model/model_files.ts";
import { withAttention } from "../model/reach.ts";
import { assertFits, assertTranslationFits } from "../cli/memory.ts";
import { type Job, assertAllFit } from "../cli/readings.ts";
import { generate, readText } from "../templora/api.ts";
import { recipes } from "../templora/config.ts";
import { writeTokens } from "../templora/decode.ts";
import { LocalLearner } from "../templora/learner.ts";
import { atMost, needsOf, translationNeeds } from "../templora/needs.ts";
import { PairMaterial } from "../templora/pair_material.ts";
import { TextMaterial } from "../templora/text_material.ts";
import { blocksOf } from "../templora/pairs.ts";
import { Session } from "../templora/session.ts";
import { type TranslateOptions, Translator, translateBlocks } from "../templora/translate.ts";
import { TranslationPrompt } from "../templora/translation_prompt.ts";
import { goldenFolder, readGolden } from "./support/golden.ts";
import { noWebGpu, unless } from "./support/skip.ts";

const test = suite("needs");
const path = fileURLToPath(new URL("tiny-untied", goldenFolder));
const recipe = { ...recipes.paper, rank: 8, alpha: 8, dropout: 0 };

const runs = [
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
  [
    "some tokens are learnt",
    { tokens: 100, writes: false },
    { chunk: 32, window: 40, recipe: { ...recipe, learn_below: 0.5 } },
  ],
  [
    "updates can be undone",
    { tokens: 150, writes: false },
    { chunk: 32, window: 40, recipe: { ...recipe, lr: 0.5, warmup: 0, guard: 0.5 } },
  ],
  [
    "all weights of the linear layers are learnt, updates can be undone",
    { tokens: 150, writes: false },
    { chunk: 32, window: 40, recipe: { ...recipe, adapt: "full", guard: 0.5 } },
  ],
  [
    "the same by Muon",
    { tokens: 150, writes: false },
    { chunk: 32, window: 40, recipe: { ...recipe, adapt: "full", optimizer: "muon" } },
  ],
  [
    "norms are learnt, a text is written",
    { tokens: 150, writes: true },
    { chunk: 32, window: 40, recipe: { ...recipe, adapt: "norms" } },
  ],
  [
    "an anchor, replay and an average",
    { tokens: 150, writes: false },
    { chunk: 16, window: 40, recipe: { ...recipes.tuned, rank: 8, alpha: 8, kl: 0.1, replay: 50, ema: 0.5 } },
  ],
  [
    "the context is learnt, too, from other first values",
    { tokens: 150, writes: false },
    { chunk: 16, window: 40, recipe: { ...recipe, context_loss: true, skip_below: 1, init: "input" } },
  ],
  [
    "keys that serve again",
    { tokens: 150, writes: false },
    { chunk: 16, window: 40, recipe: { ...recipes.tuned, rank: 8, alpha: 8 } },
  ],
  [
    "a memory of hidden states",
    { tokens: 150, writes: false },
    { chunk: 32, window: 40, recipe, knn: 0.2, knnTokens: 60 },
  ],
  [
    "the base model reads",
    { tokens: 90, writes: false },
    { chunk: 32, window: 40, templora: false, reuseCache: 0 },
  ],
  ["a text shorter than a chunk", { tokens: 20, writes: false }, { chunk: 32, window: 40, recipe }],
  ["a text is written", { tokens: 150, writes: true }, { chunk: 32, window: 40, recipe }],
  [
    "far keys in groups, read",
    { tokens: 150, writes: false },
    { chunk: 32, window: 40, recipe: { ...recipe, context_grad: false } },
    { method: "self-extend", group: 3, window: 9 },
  ],
  [
    "far keys in groups, written",
    { tokens: 150, writes: true },
    { chunk: 32, window: 40, recipe },
    { method: "self-extend", group: 3, window: 9 },
  ],
  [
    "the first keys and the last",
    { tokens: 150, writes: true },
    { chunk: 32, window: 40, recipe },
    { method: "streaming", sinks: 3, window: 9 },
  ],
] as const;
/** Devices, and how many bytes are in use where so many are counted. */
const devices: readonly (readonly [
  string,
  open: () => Promise<Device>,
  used: readonly [number, number],
  reason?: string | undefined,
])[] = [
  ["1 thread", () => openCpu({ threads: 1 }), [0.95, 1.01]],
  ["2 threads", () => openCpu({ threads: 2 }), [0.95, 1.01]],
  ["webgpu", () => openWebGpuDevice({ tuned: {} }), [0.95, 1.2], noWebGpu], // it rounds the sizes of buffers up
];

for (const [name, open, [least, most], reason] of devices)
  for (const [what, length, options, attention = { method: "full" } as const] of runs)
    unless(reason, test)(`${name}: ${what}`, async () => {
      await using device = await open();
      await using opened = await openModelFiles(path);
      const modelFiles = configured(opened, withAttention(opened.config, attention));
      const { weights, rest } = await needsOf(device, modelFiles, options, length);
      assert.is(device.stats().allocations, 0, "nothing is taken for it");
      using model = await Llama.load(device, modelFiles);
      const ids = Int32Array.from({ length: length.tokens }, (_, i) => (i * 29) % 277);
      const { baseline: _, ...writing } = { baseline: false, ...options };
      const run = length.writes
        ? generate(model, ids.subarray(0, 100), { ...writing, tokens: 50 })
        : readText(model, ids, options);
      for await (const event of run) void event;
      const { peakBytes } = device.stats();
      const share = peakBytes / (weights + rest); // the device tells what is in use, without the gaps between
      assert.ok(share > least && share < most, `${weights + rest} counted, ${peakBytes} used`);
      const { total, largest } = atMost(modelFiles, options, length);
      assert.ok(total >= peakBytes, "the bound that takes no time");
      const limits = { buffer: largest, binding: largest };
      await needsOf(
        { info: device.info, viewAlignment: device.viewAlignment, limits },
        modelFiles,
        options,
        length,
      );
    });

test("the bound that takes no time counts a window that is longer than the text", async () => {
  await using opened = await openModelFiles(path);
  await using device = await openCpu({ threads: 1 });
  const modelFiles = configured(opened, { ...opened.config, max_position_embeddings: 2 ** 21 });
  const length = { tokens: 50, writes: true };
  for (const options of [
    { chunk: 32, window: 2 ** 20, recipe },
    { chunk: 2 ** 16, window: 32, reuseCache: 20, recipe, schedule: "parallel" },
    { chunk: 32, window: 32, trainWindow: 2 ** 20, reuseCache: 1, recipe },
  ] as const) {
    const { most } = await needsOf(device, modelFiles, { ...options, baseline: false }, length);
    const { total } = atMost(modelFiles, options, length);
    assert.ok(most <= total, `${most} counted, ${total} at most`);
  }
});

test("a text is written beside a learner: the devices of both are counted", async () => {
  await using modelFiles = await openModelFiles(path);
  await using writer = await openCpu({ threads: 1 });
  await using learner = await openCpu({ threads: 1 });
  const options = { schedule: "parallel", chunk: 32, window: 40, recipe, baseline: false } as const;
  const { most, weights, rest } = await needsOf(writer, modelFiles, options, { tokens: 150, writes: true });
  using model = await Llama.load(writer, modelFiles);
  using copy = await Llama.load(learner, modelFiles);
  assert.is(weights, writer.stats().liveBytes + learner.stats().liveBytes);
  using session = new Session(model, options, (_, complete) => new LocalLearner(copy, complete));
  const ids = Int32Array.from({ length: 95 }, (_, i) => (i * 29) % 277); // one fewer than three chunks
  for await (const step of writeTokens(session, ids, { tokens: 50 })) void step;
  const used = [writer, learner].map((device) => device.stats().peakBytes);
  const share = used.reduce((sum, bytes) => sum + bytes, 0) / (weights + rest);
  assert.ok(share > 0.95 && share < 1.01, `${weights + rest} counted, ${used.join(" + ")} used`);
  assert.ok(most >= Math.max(...used));
});

test("pairs are translated; and where they do not fit, what would make them fit", async () => {
  await using device = await openCpu({ threads: 1 });
  await using modelFiles = await openModelFiles(path);
  const { pairs } = readGolden<{ pairs: unknown }>("translation.json");
  const blocks = blocksOf(pairs, "pairs.json", { src: "zh", tgt: "en", context: "k1" });
  const prompt = new TranslationPrompt(modelFiles.tokenizer, "Translate.");
  const materialOf = (of = blocks): PairMaterial =>
    new PairMaterial(prompt, of, { newTokens: 8, own: true }, modelFiles.config);
  const material = materialOf();
  const alone = materialOf(blocks.map(({ pairs }) => ({ context: [], pairs })));
  const options: TranslateOptions = {
    ...{
      recipe: { ...recipes.paper, ...recipe },
      seed: 0,
      trainOn: "self" as const,
      baseline: true,
      templora: true,
    },
    ...{ checkpointLayers: 0, maxNewTokens: 8, repetitionPenalty: 1.12 },
  };
  const needs = await translationNeeds(device, modelFiles, material, options);
  const total = needs.weights + needs.rest;
  const fits = (most: number): Promise<void> =>
    assertTranslationFits(device, modelFiles, material, options, ["--context none", () => alone], {
      ...{ most, why: "that there are" },
    });
  await fits(total);
  const refused = async (most: number, says: RegExp): Promise<void> => {
    const message = await fits(most).then(() => "fits", (error: Error) => error.message); // prettier-ignore
    assert.match(message, says);
  };
  await refused(total - 1, /^this run needs .* MiB that there are; with --checkpoint-layers 3 it is /);
  const lower = { ...options, checkpointLayers: 3 };
  const some = await translationNeeds(device, modelFiles, material, lower);
  await refused(some.weights + some.rest - 1, /; with --checkpoint-layers 3 --context none it is /);
  await refused(needs.weights - 1, /; a model in a smaller format/);
  using model = await Llama.load(device, modelFiles);
  const gold = new PairMaterial(prompt, blocks, { newTokens: 8, own: false }, modelFiles.config);
  for await (const record of translateBlocks(model, gold, { ...options, trainOn: "gold" })) void record;
  const share = total / device.stats().peakBytes;
  // what is freed after a line lies between what stays for the next one, and an update finds gaps there
  assert.ok(share > 0.99 && share < 1.1, `${total} counted, ${device.stats().peakBytes} used`);
});

test("a text is translated: no prompt and no block takes more than is counted, and some nearly as much", async () => {
  await using device = await openCpu({ threads: 1 });
  await using modelFiles = await openModelFiles(path);
  const prompt = new TranslationPrompt(modelFiles.tokenizer, "Translate.");
  const source = "the whale swims in the wide sea and the ship sails after it";
  const pieces = Array.from({ length: 12 }, (_, paragraph) => ({ paragraph, part: 0, source }));
  const given = { newTokens: 120, chunk: 50, window: 170 };
  const material = new TextMaterial(prompt, pieces, given, modelFiles.config);
  const options: TranslateOptions = {
    ...{ recipe: { ...recipes.paper, ...recipe }, seed: 0, trainOn: "self", baseline: false, templora: true },
    ...{ checkpointLayers: 0, maxNewTokens: 120, repetitionPenalty: 1.12 },
  };
  const { weights, rest } = await translationNeeds(device, modelFiles, material, options);
  assert.is(device.stats().allocations, 0, "nothing is taken for it");
  using model = await Llama.load(device, modelFiles);
  using translator = new Translator(model, material, options);
  const translated = at(material.blocks, 0).length + at(material.blocks, 1).length;
  const translations = Array.from({ length: translated }, () => `${source} ${source} ${source}`);
  await translator.restore({ learnt: translated + 1, translations, learner: null }); // before the second block's update
  for (let step = 0; step < 2; step++) await translator.step();
  const share = (weights + rest) / device.stats().peakBytes;
  assert.ok(share > 0.99 && share < 1.2, `${weights + rest} counted, ${device.stats().peakBytes} used`);
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

test("of several texts, and of several ways to read them, the one that takes the most decides, in any order", async () => {
  await using device = await openCpu({ threads: 1 });
  await using modelFiles = await openModelFiles(path);
  const grouped = { method: "self-extend", group: 3, window: 9 } as const;
  const job = (tokens: number, more: Partial<Job> = {}): Job => {
    const windows = { chunk: 32, window: 40, trainWindow: 40 };
    const learning = {
      recipe: { ...recipes.paper, ...recipe },
      templora: true,
      baseline: true,
      adapter: null,
    };
    const session = { ...windows, ...learning, seed: 0, reuseCache: 0, checkpointLayers: 0 };
    return { text: { path: "x", ids: new Int32Array(tokens) }, modelFiles, session, ...more };
  };
  const extended = configured(modelFiles, withAttention(modelFiles.config, grouped));
  const pairs: readonly (readonly [Job, Job])[] = [
    [job(20), job(150)],
    [job(150), job(150, { modelFiles: extended })],
    [job(150), job(150, { firstChunk: 120 })],
  ];
  const needed = async ({ text, session, firstChunk, ...of }: Job): Promise<number> => {
    const chunk = firstChunk ?? session.chunk + session.window; // it has no context
    const windows = firstChunk === undefined ? {} : { chunk, window: 0, trainWindow: 0 };
    const length = { tokens: text.ids.length, writes: false };
    const { weights, rest } = await needsOf(device, of.modelFiles, { ...session, ...windows }, length);
    return weights + rest;
  };
  const availableMemory = process.availableMemory.bind(process);
  try {
    for (const [small, large] of pairs) {
      const [less, more] = [await needed(small), await needed(large)];
      assert.ok(less < more, `${less} < ${more}`);
      process.availableMemory = () => less;
      await assertAllFit([small], device);
      // the first chunk is that of every text
      const lists =
        large.firstChunk === undefined
          ? [
              [small, large],
              [large, small],
            ]
          : [[large]];
      for (const jobs of lists) {
        const said = await assertAllFit(jobs, device).then(() => "fits", (error: Error) => error.message); // prettier-ignore
        assert.match(said, /^this run needs /);
      }
    }
  } finally {
    process.availableMemory = availableMemory;
  }
});

test("the pairs that take the most are those of the longest prompt, which is that of a block's last line", async () => {
  await using modelFiles = await openModelFiles(path);
  const prompt = new TranslationPrompt(modelFiles.tokenizer, "Translate.");
  const pair = (source: string): { source: string; target: string } => ({ source, target: source });
  const long = [{ context: [], pairs: [pair("a long line, longer than the others")] }];
  const many = [{ context: [], pairs: Array.from({ length: 9 }, (_, i) => pair(`the line ${i}`)) }];
  for (const blocks of [
    [...long, ...many],
    [...many, ...long],
  ]) {
    const material = new PairMaterial(prompt, blocks, { newTokens: 8, own: false }, modelFiles.config);
    assert.equal(material.largest().blocks, [...many, ...many].map(({ pairs }) => pairs.map(({ source }) => source))); // prettier-ignore
  }
});

test("any WebGPU adapter binds the logits of 262,208 words, and a panel of their table", () => {
  const info = { kind: "webgpu", description: "a GPU", software: false, facts: {} } as const;
  const limits = { buffer: 2 ** 31, binding: 2 ** 27 }; // the least that WebGPU allows a binding to have
  using task = new Task(new CountingDevice({ info, viewAlignment: 64, limits }));
  const [T, D] = [300, 640];
  const h = task.empty([T, D]);
  h.requiresGrad = true;
  const w = task.empty([262_208, D], "q4_0");
  const targets = task.empty([T], "i32");
  assert.equal(record(task, () => linearCrossEntropy(h, w, targets, {})).result.shape, [T]);
});

test("what one buffer or binding of an adapter does not hold is refused before it begins", async () => {
  await using modelFiles = await openModelFiles(path);
  const options = { chunk: 64, window: 128, trainWindow: 128, recipe: { ...recipe, rank: 2 } };
  const refusal = (limits: DeviceLimits): Promise<string> => {
    const info = { kind: "webgpu", description: "a GPU", software: false, facts: {} } as const;
    const device = { info, viewAlignment: 64, limits };
    return assertFits(device, modelFiles, options, { tokens: 1000, writes: false }).then(
      () => "fits",
      (error: Error) => error.message,
    );
  };
  assert.is(await refusal({ buffer: 2 ** 18, binding: 2 ** 18 }), "fits");
  assert.is(
    await refusal({ buffer: 53183, binding: 53183 }),
    "this run does not fit the webgpu device: model.embed_tokens.weight: 53184 bytes are more than one buffer of this " +
      "adapter holds (53183); a model in a smaller format, or --device cpu, would make it fit",
  );
  assert.match(
    await refusal({ buffer: 2 ** 18, binding: 70_000 }),
    /^this run does not fit the webgpu device: \S+ \(\S+\): \d+ bytes; this adapter binds at most 70000; with --checkpoint-layers 3 --chunk 32 --window 64 it is [\d.]+ .iB$/,
  );
});

test.run();
