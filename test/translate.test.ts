/**
 * The translation task against transformers and peft running the same loop (test/golden/make_translation.py): prompts, the references'
 * losses, greedy translations, updates; then runs that are cut, and what the files must not be.
 */
import { cpSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { BadInputError } from "../engine/errors.ts";
import { atOnce } from "../engine/turns.ts";
import { at } from "../kernels/base/at.ts";
import type { Llama } from "../model/llama.ts";
import { loadModel } from "../model/load.ts";
import { type Recipe, recipes } from "../templora/config.ts";
import type { Keeper, Kept } from "../templora/keeping.ts";
import { PairMaterial } from "../templora/pair_material.ts";
import { blocksOf } from "../templora/pairs.ts";
import {
  type TranslateOptions,
  type TranslationRecord,
  type TranslatorSnapshot,
  translateBlocks,
} from "../templora/translate.ts";
import {
  type Longest,
  TranslationPrompt,
  instructionFor,
  longestOf,
} from "../templora/translation_prompt.ts";
import { partsOf, scoresOf } from "../templora/translation_scores.ts";
import { openTestDevices } from "./support/backends.ts";
import { goldenFolder, readGolden } from "./support/golden.ts";
import { temporaryFolder } from "./support/model_files.ts";

const test = suite("translate");

interface Golden {
  readonly template: string;
  readonly instruction: string;
  readonly repetition_penalty: number;
  readonly max_new_tokens: number;
  readonly recipe: Pick<Recipe, "rank" | "alpha" | "lr" | "warmup" | "epochs" | "dropout"> & {
    readonly seed: number;
  };
  readonly pairs: readonly object[];
  readonly runs: readonly {
    readonly model: string;
    readonly chat: boolean;
    readonly train_on: "gold" | "self";
    readonly lines: readonly {
      readonly prompt: string;
      readonly ids: readonly number[];
      readonly tokens: number;
      readonly base_nll: number;
      readonly lora_nll: number;
      readonly base: string;
      readonly lora: string;
    }[];
    readonly updates: readonly {
      readonly ids: readonly number[];
      readonly first: number;
      readonly lr: number;
      readonly train_loss: readonly number[];
    }[];
  }[];
}
const golden = readGolden<Golden>("translation.json");
const { seed, ...changes } = golden.recipe;
const recipe: Recipe = { ...recipes.paper, ...changes };
const keys = { src: "zh", tgt: "en", context: "k1" } as const;
const blocks = blocksOf(golden.pairs, "pairs.json", keys);
const options: TranslateOptions = {
  ...{ recipe, seed, trainOn: "gold", baseline: true, templora: true, checkpointLayers: 0 },
  ...{ maxNewTokens: golden.max_new_tokens, repetitionPenalty: golden.repetition_penalty },
};

/** The folder of a tiny model, with a chat template where one is wanted. */
function folderOf({ model, chat }: { readonly model: string; readonly chat: boolean }): string {
  const folder = join(temporaryFolder(), `${model}-${chat ? "chat" : "plain"}`);
  cpSync(fileURLToPath(new URL(model, goldenFolder)), folder, { recursive: true });
  if (chat) writeFileSync(join(folder, "chat_template.jinja"), golden.template);
  return folder;
}

/** The error of a relative difference; float32 against float64 through three layers and two updates. */
const near = (got: number, want: number, what: string): void =>
  assert.ok(Math.abs(got / want - 1) < 1e-5, `${what}: ${got}, not ${want}`);

/** Pairs, as a translator takes them. */
const materialOf = ({ tokenizer, config }: Llama, own: boolean): PairMaterial =>
  new PairMaterial(
    new TranslationPrompt(tokenizer, golden.instruction),
    blocks,
    { newTokens: options.maxNewTokens, own },
    config,
  );

const words = ({ flops: _f, bytes: _b, seconds: _s, ...record }: TranslationRecord): object => record;

for (const { name, device } of await openTestDevices()) {
  for (const run of golden.runs)
    test(`${name} ${run.model}, trained on ${run.train_on}: prompts, losses within 1e-5, translations and updates`, async () => {
      using model = await loadModel(device, folderOf(run));
      const prompt = new TranslationPrompt(model.tokenizer, golden.instruction);
      const found: TranslationRecord[] = [];
      const work = { ...options, trainOn: run.train_on };
      const material = materialOf(model, run.train_on === "self");
      for await (const record of translateBlocks(model, material, work)) found.push(record);
      const lines = found.filter((r) => r.type === "line");
      assert.is(lines.length, run.lines.length);
      lines.forEach((line, i) => {
        const want = at(run.lines, i);
        const { block } = line;
        const before = lines.findIndex((other) => other.block === block);
        const ids = prompt.before(at(blocks, block), i - before);
        assert.equal([...ids], want.ids);
        assert.is(model.tokenizer.decode(ids), want.prompt);
        assert.equal([line.context, line.tokens], [want.ids.length, want.tokens]);
        near(line.base_nll ?? NaN, want.base_nll, `base_nll of line ${i}`);
        near(line.lora_nll ?? NaN, want.lora_nll, `lora_nll of line ${i}`);
        assert.equal([line.base_translation, line.lora_translation], [want.base, want.lora], `line ${i}`);
      });
      const updates = found.filter((r) => r.type === "update");
      assert.is(updates.length, run.updates.length, "none after the last block");
      updates.forEach((update, i) => {
        const want = at(run.updates, i);
        const said = lines.filter(({ block }) => block === i);
        const texts = said.map((line) => (run.train_on === "self" ? line.lora_translation : line.reference));
        const { inputs, targets, from } = prompt.training(at(blocks, i), texts.map(String));
        assert.equal([...inputs, targets.at(-1)], want.ids);
        assert.is(from, want.first - 1);
        assert.equal([update.context, update.tokens], [want.first, want.ids.length - want.first]);
        assert.is(update.lr, want.lr);
        update.train_loss.forEach((loss, epoch) =>
          near(loss, at(want.train_loss, epoch), `loss ${epoch} of update ${i}`),
        );
      });
    });

  test(`${name}: without training the adapted model is the base model, bit for bit`, async () => {
    using model = await loadModel(device, folderOf({ model: "tiny-tied", chat: false }));
    const material = materialOf(model, false);
    const work = { ...options, trainOn: "none" } as const;
    const before = device.stats().liveBuffers;
    for await (const record of translateBlocks(model, material, work)) {
      assert.is(record.type, "line");
      if (record.type !== "line") continue;
      assert.is(record.lora_nll, record.base_nll);
      assert.is(record.lora_translation, record.base_translation);
    }
    assert.is(device.stats().liveBuffers, before, "nothing is left");
    for (const side of ["baseline", "templora"] as const)
      for await (const record of translateBlocks(model, material, { ...options, [side]: false })) {
        if (record.type !== "line") continue;
        assert.is(record.base_nll === null, side === "baseline");
        assert.is(record.lora_nll === null, side === "templora");
      }
  });

  test(`${name}: a run continues from wherever it stopped with the bits of an uninterrupted one`, async () => {
    using model = await loadModel(device, folderOf({ model: "tiny-tied", chat: false }));
    const material = materialOf(model, true);
    type Here = Kept<TranslationRecord, TranslatorSnapshot>;
    const points: Here[] = [];
    const keeper: Keeper<TranslationRecord, TranslatorSnapshot> = {
      earlier: null,
      point: async (take) => void points.push(await take()),
      stop: () => Promise.resolve(),
    };
    const work = { ...options, trainOn: "self", recipe: { ...recipe, dropout: 0.1 } } as const;
    const all = async (earlier: Here | null): Promise<object[]> => {
      const found = [...(earlier?.records ?? [])];
      const kept = { ...work, keeper: { ...keeper, earlier } };
      for await (const record of translateBlocks(model, material, kept)) found.push(record);
      return found.map((record) => ({ ...words(record), flops: record.flops }));
    };
    const whole = await all(null);
    assert.is(points.length, 11, "eight lines and two updates");
    for (const earlier of [...points]) assert.equal(await all(earlier), whole);
  });
  test.after(() => device.close());
}

test("scores: of all lines, and part by part", () => {
  const cost = {
    flops: { base: 1, score: 2, train: 0 },
    bytes: { base: 2, score: 4, train: 0 },
    seconds: { base: 1, score: 2, train: 0 },
  };
  const line = (index: number, said: string, reference: string, nll: number): TranslationRecord => ({
    ...{ type: "line", index, block: 0, source: "", reference, context: 9, tokens: 2, ...cost },
    ...{ base_nll: 4, lora_nll: nll, base_translation: said, lora_translation: reference },
  });
  const update = {
    flops: { base: 0, score: 0, train: 5 },
    bytes: { base: 0, score: 0, train: 9 },
    seconds: { base: 0, score: 0, train: 5 },
  };
  const records: TranslationRecord[] = [
    line(0, "nothing like it", "the ship sailed away at once", 2),
    {
      ...{ type: "update", block: 0, tokens: 9, context: 9, train_loss: [], lr: 0, skipped_steps: 0 },
      ...update,
    },
    line(1, "a wind rose in the west", "a wind rose in the west", 4),
  ];
  const all = scoresOf(records, "13a");
  assert.equal([all.lines, all.tokens, all.base_ppl, all.lora_ppl], [[0, 2], 4, Math.exp(2), Math.exp(1.5)]);
  assert.is(all.lora_mean_line_ppl, (2 * Math.exp(1) + 2 * Math.exp(2)) / 4);
  assert.ok(Math.abs((all.lora_bleu ?? 0) - 100) < 1e-9 && (all.base_bleu ?? 0) < 60);
  assert.equal(all.flops, { base: 2, score: 4, train: 5 });
  assert.equal(all.bytes, { base: 4, score: 8, train: 9 });
  const second = scoresOf(records, "13a", [1, 2]);
  assert.equal([second.lines, second.tokens, second.base_chrf], [[1, 2], 2, 100]);
  assert.equal(partsOf(8, 3), [[0, 3], [3, 5], [5, 8]]); // prettier-ignore
  assert.equal(partsOf(2, 3), [[0, 1], [1, 2]]); // prettier-ignore
});

test("the instruction: the paper's, one made of the language, or none without a language", () => {
  assert.is(instructionFor("zh", "en"), golden.instruction);
  assert.is(instructionFor("en", "de"), "Translate the text below into German.");
  for (const key of ["target", "en_US", "xx-"])
    assert.throws(
      () => instructionFor("zh", key),
      (e: Error) => e instanceof BadInputError && e.message.includes("--instruction"),
    );
});

test("at most so many pairs, the contexts that are asked for, and what does not fit", async () => {
  const sizes = (most: number): number[] =>
    blocksOf(golden.pairs, "f", { ...keys, most }).map(({ pairs }) => pairs.length);
  assert.equal([sizes(2), sizes(4), sizes(99)], [[2], [3, 1], [3, 3, 2]]);
  const before = (context: "k1" | "k3" | "none"): number[] =>
    blocksOf(golden.pairs, "f", { ...keys, context }).map((block) => block.context.length);
  assert.equal([before("none"), before("k1"), before("k3")], [[0, 0, 0], [0, 3, 3], [0, 3, 6]]); // prettier-ignore
  const [device] = await openTestDevices();
  assert.ok(device);
  using model = await loadModel(device.device, folderOf({ model: "tiny-tied", chat: false }));
  const prompt = new TranslationPrompt(model.tokenizer, golden.instruction);
  const longest = (newTokens: number, own = false): Longest =>
    atOnce(longestOf(prompt, blocks, { newTokens, own }, model.config));
  const prompts = at(golden.runs, 0).lines.map(({ ids }) => ids.length); // of tiny-tied; its update is the longest text there
  const trained = Math.max(...at(golden.runs, 0).updates.map(({ ids }) => ids.length - 1));
  assert.equal(longest(20), { read: Math.max(...prompts) + 20, trained });
  assert.is(longest(20, true).trained, 512, "own translations may be as long as the positions allow");
  assert.is(longest(292).read, 512);
  assert.throws(
    () => longest(293),
    /block 1: .* 293 new tokens take 513 positions, the model has 512; --context none or fewer --max-new-tokens would/,
  );
  const pair = { source: "A whale.", target: "x ".repeat(600) };
  assert.throws(
    () =>
      atOnce(longestOf(prompt, [{ context: [], pairs: [pair] }], { newTokens: 9, own: false }, model.config)),
    /block 0: .* \d+ tokens of a reference take \d+ positions, the model has 512$/,
  );
  const [, block] = blocks;
  assert.ok(block);
  const whole = prompt.training(block, ["a", "b", "c"]);
  const cut = prompt.training(block, ["a", "b", "c"], whole.inputs.length - 2);
  assert.equal([...cut.inputs], [...whole.inputs.subarray(0, -2)]);
  assert.equal([...cut.targets], [...whole.targets.subarray(0, -2)]);
  await device.device.close();
});

for (const [json, says] of [
  [{}, "pairs.json: expected a list, got {}"],
  [[], "pairs.json: no pairs in it"],
  [[{ contexts: { k1: [] }, inference: [] }], "pairs.json: no pairs in it"],
  [[7], "pairs.json: entry 0: expected a JSON object, got 7"],
  [
    [{ contexts: { k1: [] } }],
    'pairs.json: entry 0: no inference in it; pairs have the form [{"contexts": {"k1": […]}, "inference": [{"zh": "…", "en": "…"}, …]}, …]',
  ],
  [
    [{ inference: [{ zh: "a", en: "b" }] }],
    "pairs.json: entry 0: no contexts in it; without any, give --context none",
  ],
  [
    [{ contexts: {}, inference: [{ zh: "a", en: "b" }] }],
    "pairs.json: entry 0, contexts.k1: expected a list, got nothing",
  ],
  [
    [{ contexts: { k1: [] }, inference: [{ de: "a", en: "b" }] }],
    "pairs.json: entry 0, inference[0]: no zh in it; it has de, en: name the keys of a line and of its translation (--src, --tgt)",
  ],
  [
    [{ contexts: { k1: [] }, inference: [Object.fromEntries([..."abcdefghi"].map((key) => [key, "x"]))] }],
    "pairs.json: entry 0, inference[0]: no zh in it; it has a, b, c, d, e, f and 3 more: name the keys of a line and of its translation (--src, --tgt)",
  ],
  [
    [{ contexts: { k1: [] }, inference: [{ zh: 1, en: "b" }] }],
    "pairs.json: entry 0, inference[0], zh: expected a string, got 1",
  ],
  [
    [{ contexts: { k1: [] }, inference: [{ zh: "a", en: " " }] }],
    "pairs.json: entry 0, inference[0], en: expected one line of text, got an empty one",
  ],
  [
    [{ inference: [{ zh: "a\rb", en: "b" }] }],
    "pairs.json: entry 0, inference[0], zh: expected one line of text, got several",
  ],
  [
    [{ contexts: { k1: [{ zh: "a\nb", en: "c" }] }, inference: [{ zh: "a", en: "b" }] }],
    "pairs.json: entry 0, contexts.k1[0], zh: expected one line of text, got several",
  ],
] as const)
  test(`refused: ${says}`, () => {
    assert.throws(
      () => blocksOf(json, "pairs.json", keys),
      (error: Error) => error instanceof BadInputError && error.message === says,
    );
  });

test.run();
