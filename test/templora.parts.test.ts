/** The small parts of Temp-LoRA, each alone: sums over chunks, what is booked where, options and their limits, where chunks lie. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { Meter } from "../engine/meter.ts";
import type { ModelConfig } from "../model/config.ts";
import { bosOf, chunkSpans, sequence } from "../templora/chunks.ts";
import { learningRate, recipes } from "../templora/config.ts";
import { GrowingText } from "../templora/growing_text.ts";
import { type ChunkRecord, Totals, nothing } from "../templora/records.ts";
import { completeOptions, differing, windowsOf } from "../templora/session_options.ts";
import { Stopwatch } from "../templora/stopwatch.ts";

const tests = suite("templora parts");
const close = (got: number | null, want: number): void =>
  assert.ok(got !== null && Math.abs(got / want - 1) < 1e-14, `${got}, expected ${want}`);

const chunk = (part: Partial<ChunkRecord>): ChunkRecord => ({
  ...{
    index: 0,
    start: 0,
    tokens: 0,
    context: 0,
    base_nll: 0,
    lora_nll: 0,
    train_loss: [],
    lr: 0,
    skipped_steps: 0,
  },
  ...{
    flops: { base: 1, score: 2, train: 4 },
    bytes: { base: 8, score: 16, train: 32 },
    seconds: { base: 0.5, score: 0.25, train: 0.125 },
  },
  ...part,
});

tests("perplexities are of the sums, and means of the chunks' own by their tokens", () => {
  const totals = new Totals();
  assert.equal([totals.perplexities.base_ppl, totals.perplexities.lora_mean_chunk_ppl], [null, null]);
  totals.add(chunk({ tokens: 3, base_nll: 6, lora_nll: 3 }));
  totals.add(chunk({ tokens: 1, base_nll: 6, lora_nll: 5 }));
  totals.add(chunk({ tokens: 0, base_nll: 0, lora_nll: 0 })); // a text of one token
  const found = totals.perplexities;
  assert.is(found.tokens, 4);
  close(found.base_ppl, Math.exp(12 / 4));
  close(found.lora_ppl, Math.exp(8 / 4));
  close(found.base_mean_chunk_ppl, (3 * Math.exp(2) + Math.exp(6)) / 4);
  close(found.lora_mean_chunk_ppl, (3 * Math.exp(1) + Math.exp(5)) / 4);
  close(found.reduction_percent, 100 * (1 - Math.exp(-1)));
  assert.equal(found.flops, { base: 3, score: 6, train: 12 });
  assert.equal(found.bytes, { base: 24, score: 48, train: 96 });
  assert.equal(found.seconds, { base: 1.5, score: 0.75, train: 0.375 });
  totals.add(chunk({ tokens: 2, base_nll: 1, lora_nll: null }));
  const { base_ppl, lora_ppl, lora_mean_chunk_ppl, reduction_percent } = totals.perplexities;
  close(base_ppl, Math.exp(13 / 6));
  assert.equal([lora_ppl, lora_mean_chunk_ppl, reduction_percent], [null, null, null]);
  const adapted = new Totals();
  adapted.add(chunk({ tokens: 2, base_nll: null, lora_nll: 1 }));
  close(adapted.perplexities.lora_ppl, Math.exp(1 / 2));
  assert.is(adapted.perplexities.reduction_percent, null);
});

tests("a stopwatch books what was spent since the last booking", () => {
  const meter = { flops: 100, bytes: 7, seconds: 10 };
  const [flops, bytes] = [
    { base: 1, score: 2, train: 3 },
    { base: 0, score: 1, train: 0 },
  ];
  const earlier = { flops, bytes, seconds: { base: 4, score: 5, train: 6 } };
  const watch = new Stopwatch(meter as Meter, earlier);
  Object.assign(meter, { flops: 130, bytes: 9, seconds: 11 });
  watch.book("score");
  watch.book("base");
  Object.assign(meter, { flops: 150, bytes: 12, seconds: 11.5 });
  watch.book("train");
  assert.equal(watch.spent.flops, { base: 1, score: 32, train: 23 });
  assert.equal(watch.spent.bytes, { base: 0, score: 3, train: 3 });
  assert.equal(watch.spent.seconds, { base: 4, score: 6, train: 6.5 });
  assert.equal(earlier.flops, { base: 1, score: 2, train: 3 });
  assert.equal(new Stopwatch(new Meter()).spent, nothing());
});

const model = (positions: number): ModelConfig =>
  ({
    max_position_embeddings: positions,
    num_hidden_layers: 3,
    layers: [] as ModelConfig["layers"],
  }) as ModelConfig;

tests("options left out are the recipe's, as far as the model's positions go", () => {
  for (const [positions, given, want] of [
    [10_000, { recipe: "paper" }, [1024, 3072, 3072, 0]],
    [4096, { recipe: recipes.paper, chunk: 1024, window: 3072 }, [1024, 3072, 3072, 0]],
    [2000, { recipe: "paper" }, [1000, 1000, 1000, 0]],
    [513, { recipe: "paper" }, [256, 257, 257, 0]],
    [513, { recipe: "paper", reuseCache: 1 }, [128, 257, 257, 1]],
    [1, {}, [1, 0, 0, 0]],
    [512, { recipe: "paper", chunk: 100, window: 30 }, [100, 30, 30, 0]],
    [512, { chunk: 112, window: 30, trainWindow: 400 }, [112, 30, 400, 0]],
    [512, { recipe: { context_grad: true }, chunk: 112, window: 30 }, [112, 30, 30, 0]],
    [4096, {}, [64, 960, 960, 48]],
    [10_000, { recipe: "tuned" }, [64, 960, 960, 48]],
    [1500, {}, [64, 750, 750, 10]],
    [512, { window: 0 }, [64, 0, 0, 6]],
    [100, {}, [50, 50, 50, 0]],
  ] as const) {
    const { chunk, window, trainWindow, reuseCache } = completeOptions(given, model(positions));
    const found = [chunk, window, trainWindow, reuseCache];
    assert.equal(found, want, `${positions} ${JSON.stringify(given)}`);
  }
  assert.throws(() => completeOptions({ recipe: "papper" as "paper" }, model(512)), /recipe papper: one of/);
  const reads = { name: "paper", writes: false } as const;
  assert.is(windowsOf({ reuseCache: 1 }, model(513), recipes.paper, reads).chunk, 256);
  const far = { ...model(10_000), layers: [{ far: { keys: 4 } }] } as unknown as ModelConfig;
  assert.is(completeOptions({}, far).reuseCache, 0);
  const {
    chunk: _c,
    window: _w,
    trainWindow: _t,
    ...rest
  } = completeOptions({ recipe: { rank: 8 } }, model(1024));
  assert.equal(rest, {
    recipe: { ...recipes.tuned, rank: 8, alpha: 1.6 },
    sampling: { temperature: 0, top_k: 0, top_p: 1, min_p: 0, repetition_penalty: 1 },
    ...{
      seed: 0,
      templora: true,
      baseline: true,
      reuseCache: 7,
      checkpointLayers: 0,
      stopIds: [],
      banIds: [],
      tokenScores: false,
      knn: 0,
      knnTokens: 16_384,
      adapter: null,
      schedule: "cascaded",
      onRepetition: "report",
      keepBos: true,
    },
  });
  assert.throws(
    () => completeOptions({ schedule: "serial" as "cascaded" }, model(512)),
    /schedule serial: one of cascaded, parallel is expected/,
  );
});

tests("the tuned recipe is what docs/log.md says was found", () => {
  assert.equal(recipes.tuned, {
    ...recipes.paper,
    ...{ alpha: 12.8, scaling: "weight", dropout: 0 },
    ...{ lr: 4e-4, warmup: 0, epochs: 1, context_grad: false },
  });
});

tests("options have limits, and their bounds are within", () => {
  const complete = (given: object): unknown => completeOptions({ chunk: 8, window: 8, ...given }, model(512));
  for (const given of [
    { seed: 2 ** 32 - 1 },
    { checkpointLayers: 3 },
    { chunk: 1 },
    { chunk: 504 },
    { window: 0 },
    { trainWindow: 504 },
  ])
    complete(given);
  for (const [given, says] of [
    [{ seed: 2 ** 32 }, /seed: .* at most 4294967295/],
    [{ checkpointLayers: 4 }, /checkpointLayers: .* at most 3/],
    [{ chunk: 0 }, /chunk: .* at least 1/],
    [{ chunk: 505 }, /window 8 \+ chunk 505 exceed the model's 512 positions/],
    [{ trainWindow: 505 }, /window 505 \+ chunk 8 exceed/],
    [{ window: -1 }, /window: .* at least 0/],
    [{ trainWindow: 0.5 }, /trainWindow: expected a whole number/],
    [{ reuseCache: -1 }, /reuseCache: .* at least 0/],
    [{ knn: 1 }, /knn: .*below 1/],
    [{ knnTokens: 0 }, /knnTokens: .* at least 1/],
  ] as const)
    assert.throws(() => complete(given), says);
});

tests("options differ by what changes the numbers", () => {
  const options = completeOptions({}, model(4096));
  assert.is(differing(options, options), null);
  assert.is(differing(options, { ...options, baseline: false, checkpointLayers: 2 }), null);
  assert.is(differing(options, { ...options, banIds: [3] }), "banIds");
  assert.is(differing(options, { ...options, knn: 0.2 }), "knn");
  assert.is(differing(options, { ...options, knnTokens: 7 }), "knnTokens");
  assert.is(differing(options, { ...options, recipe: { ...options.recipe, lr: 1 } }), "recipe");
});

tests("chunks tile the text; each predicts all of its tokens from those before", () => {
  const spans = (tokens: number): number[][] =>
    [...chunkSpans(tokens, 4)].map(({ index, start, end }) => [index, start, end]);
  assert.equal(spans(0), []);
  assert.equal(spans(4), [[0, 0, 4]]);
  assert.equal(spans(9), [
    [0, 0, 4],
    [1, 4, 8],
    [2, 8, 9],
  ]);
  const ids = Int32Array.of(10, 11, 12, 13, 14, 15, 16, 17, 18);
  const of = (start: number, end: number, window: number): unknown => {
    const { inputs, targets, ...rest } = sequence(ids, { index: 0, start, end }, window);
    return { inputs: [...inputs], targets: [...targets], ...rest };
  };
  assert.equal(of(0, 4, 3), { start: 0, inputs: [10, 11, 12], from: 0, targets: [11, 12, 13], context: 0 });
  assert.equal(of(4, 8, 3), {
    start: 1,
    inputs: [11, 12, 13, 14, 15, 16],
    from: 2,
    targets: [14, 15, 16, 17],
    context: 3,
  });
  assert.equal(of(4, 8, 9), {
    start: 0,
    inputs: [10, 11, 12, 13, 14, 15, 16],
    from: 3,
    targets: [14, 15, 16, 17],
    context: 4,
  });
  assert.equal(of(8, 9, 0), { start: 8, inputs: [], from: 0, targets: [], context: 0 });
  assert.equal(of(8, 9, 1), { start: 7, inputs: [17], from: 0, targets: [18], context: 1 });
});

tests("a context begins with the BOS that its text begins with, if it is more than one token", () => {
  const ids = Int32Array.of(2, 11, 12, 13, 14, 15, 16, 17, 18);
  const bos = bosOf(ids, { bos_token_id: 2 });
  assert.equal([bos, bosOf(ids, { bos_token_id: 3 }), bosOf(ids, { bos_token_id: null })], [2, null, null]);
  assert.is(bosOf(new Int32Array(), { bos_token_id: null }), null);
  const of = (start: number, end: number, window: number): unknown => {
    const { inputs, targets } = sequence(ids, { index: 0, start, end }, window, bos);
    return [[...inputs], [...targets]];
  };
  assert.equal(of(0, 4, 3), [[2, 11, 12], [11, 12, 13]]); // prettier-ignore
  assert.equal(of(4, 8, 3), [[2, 12, 13, 14, 15, 16], [14, 15, 16, 17]]); // prettier-ignore
  assert.equal(of(8, 9, 1), [[17], [18]]);
  assert.equal(of(4, 8, 0), [[14, 15, 16], [15, 16, 17]]); // prettier-ignore
  assert.equal([...ids], [2, 11, 12, 13, 14, 15, 16, 17, 18]);
});

tests("the rate rises from 0 on the first chunk, or is there at once", () => {
  const rates = (warmup: number): number[] =>
    [0, 1, 2, 3, 4].map((i) => learningRate({ ...recipes.paper, lr: 6, warmup }, i));
  assert.equal(rates(3), [0, 2, 4, 6, 6]);
  assert.equal(rates(1), [0, 6, 6, 6, 6]);
  assert.equal(rates(0), [6, 6, 6, 6, 6]);
});

tests("the rate falls as the inverse root of the chunks, after and within a warm-up", () => {
  const rates = (warmup: number): number[] =>
    [0, 5, 15].map((i) => learningRate({ ...recipes.paper, lr: 6, warmup, lr_timescale: 5 }, i));
  close(rates(0)[1] ?? null, 6 / Math.SQRT2);
  assert.equal([rates(0)[0], rates(0)[2]], [6, 3]);
  assert.equal([rates(30)[0], rates(30)[2]], [0, 1.5]);
});

tests("a text gives what it has of a range", () => {
  const text = new GrowingText();
  text.append([5, 6, 7], 0);
  text.append([8], 1);
  assert.equal([...text.ids(1, 3)], [6, 7]);
  assert.equal([...text.ids(2, 99)], [7, 8]);
  assert.equal([...text.written(2, 99)], [0, 1]);
  assert.equal([...text.written(0, 3)], [0, 0, 0]);
});

tests.run();
