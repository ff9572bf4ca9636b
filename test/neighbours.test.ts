/** The memory of hidden states, held to its formula in float64, and what the commands make of it. */
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { Task } from "../engine/task.ts";
import { loadModel } from "../model/load.ts";
import { bosOf, sequence } from "../templora/chunks.ts";
import { recipes } from "../templora/config.ts";
import { Mixture, SPREAD } from "../templora/mixture.ts";
import { Neighbours, SHARES, TEMPERATURE } from "../templora/neighbours.ts";
import { readText } from "../templora/api.ts";
import { Session } from "../templora/session.ts";
import { openTestDevices } from "./support/backends.ts";
import { jsonLines, templora } from "./support/cli.ts";
import { goldenFolder, relativeError } from "./support/golden.ts";
import { temporaryFolder } from "./support/model_files.ts";
import { SEED, TestRandom } from "./support/rng.ts";

const tiny = fileURLToPath(new URL("tiny-tied", goldenFolder));
const devices = await openTestDevices();
const ids = Int32Array.from({ length: 64 }, (_, t) => (t * 29 + (t >> 3) * 5) % 256);

/** kNN-LM, eq. 2, in float64: what states [N][D] with the tokens after them give a token behind one query. */
function voted(
  [states, tokens]: readonly [readonly Float32Array[], readonly number[]],
  query: Float32Array,
  token: number,
): number {
  const distances = states.map((state) => state.reduce((sum, x, i) => sum + (x - (query[i] ?? 0)) ** 2, 0));
  const mean = distances.reduce((a, b) => a + b, 0) / distances.length;
  const weights = distances.map((d) => Math.exp(-d / (TEMPERATURE * mean)));
  const all = weights.reduce((a, b) => a + b, 0);
  const votes = weights.reduce((sum, w, i) => sum + (tokens[i] === token ? w : 0), 0);
  return votes / all;
}

/**
 * Herbster & Warmuth 1998, figure 1, with all paths written out: the probability of a text under every sequence of shares that stays with
 * probability 1 − SPREAD and else draws anew among all, a prior that has no weights in it. Two shares, as many tokens as there are pairs.
 */
function overAllPaths(
  pairs: readonly (readonly [model: number, memory: number])[],
  shares: readonly number[],
): number {
  const n = shares.length;
  let total = 0;
  for (let path = 0; path < n ** pairs.length; path++) {
    let [p, before] = [1 / n, -1];
    pairs.forEach(([model, memory], t) => {
      const which = Math.floor(path / n ** t) % n;
      if (t > 0) p *= SPREAD / n + (which === before ? 1 - SPREAD : 0);
      const share = shares[which] ?? NaN;
      p *= (1 - share) * model + share * memory;
      before = which;
    });
    total += p;
  }
  return total;
}

test("shares are mixed by Bayes' rule over all ways of changing between them", () => {
  const random = new TestRandom(SEED, "mixture");
  const pairs = Array.from(
    { length: 7 },
    () => [(1 + random.below(99)) / 100, random.below(100) / 100] as const,
  );
  const shares = [0.01, 0.2, 0.7];
  const mixture = new Mixture(shares);
  const product = pairs.reduce((p, [model, memory]) => p * mixture.mix(model, memory), 1);
  assert.ok(Math.abs(product / overAllPaths(pairs, shares) - 1) < 1e-12);
  const again = new Mixture(shares);
  again.restore(mixture.weights);
  assert.is(again.mix(0.2, 0.9), mixture.mix(0.2, 0.9));
  again.restore(null);
  assert.equal(again.weights, new Mixture(shares).weights);
  assert.throws(() => again.restore([0.5, 0.5]), /damaged/);
});

for (const { name, device } of devices) {
  test(`${name}: each score has the memory's share, of the newest states only, and never of its own chunk`, async () => {
    for (const share of [0.3, "auto"] as const) {
      const [D, capacity] = [12, 10];
      using task = new Task(device);
      using memory = new Neighbours(task, D, { share, capacity });
      const mixture = new Mixture(share === "auto" ? SHARES : [share]);
      const random = new TestRandom(SEED, "neighbours");
      const [states, tokens]: [Float32Array[], number[]] = [[], []];
      for (const T of [4, 1, 7, 5]) {
        const hidden = Float32Array.from({ length: T * D }, () => random.normal());
        const targets = Int32Array.from({ length: T }, () => random.below(3));
        const nll = Float32Array.from({ length: T }, () => 0.1 + Math.abs(random.normal()));
        const mixed = await task.unit(async () => {
          using _scope = task.scope();
          memory.watch(task.tensor(hidden, [T, D]));
          return await memory.mix(nll, targets);
        });
        const rows = Array.from({ length: T }, (_, t) => hidden.subarray(t * D, (t + 1) * D));
        const held = [states.slice(-capacity), tokens.slice(-capacity)] as const;
        for (const [t, row] of rows.entries()) {
          const [own = NaN, token = NaN, found = NaN] = [nll[t], targets[t], mixed[t]];
          const right =
            states.length === 0 ? own : -Math.log(mixture.mix(Math.exp(-own), voted(held, row, token)));
          assert.ok(relativeError([found], [right]) < 1e-5, `${found}, not ${right}`);
        }
        states.push(...rows);
        tokens.push(...targets);
      }
      const kept = await memory.snapshot();
      assert.equal([kept.seen, kept.tokens.length], [17, capacity]);
      assert.throws(() => memory.restore({ ...kept, tokens: kept.tokens.slice(1) }), /damaged/);
    }
  });

  test(`${name}: what no model and no memory expects has a finite score`, async () => {
    using task = new Task(device);
    using memory = new Neighbours(task, 1, { share: "auto", capacity: 4 });
    const mix = (targets: number[], nll: number[]): Promise<Float32Array> =>
      task.unit(async () => {
        using _scope = task.scope();
        memory.watch(task.tensor(Float32Array.from(targets), [targets.length, 1]));
        return await memory.mix(Float32Array.from(nll), Int32Array.from(targets));
      });
    await mix([1, 2], [1, 1]);
    const [unexpected = NaN, next = NaN] = await mix([3, 1], [2000, 2]);
    assert.ok(unexpected > 600 && unexpected < 800, String(unexpected));
    assert.ok(next > 0 && next < 2.2, String(next));
  });

  test(`${name}: a session's scores have it, the frozen model's and the adapted one's, each from its own states`, async () => {
    const before = device.stats().liveBuffers;
    for (const change of [{ dropout: 0 }, { dropout: 0.1 }, { dropout: 0, context_grad: false }]) {
      using model = await loadModel(device, tiny);
      const recipe = { ...recipes.paper, rank: 4, alpha: 4, warmup: 0, ...change };
      const still = { chunk: 8, window: 12, recipe: { ...recipe, lr: 0 } };
      using plain = new Session(model, still);
      using mixing = new Session(model, { ...still, knn: 0.25, knnTokens: 20 });
      using learning = new Session(model, {
        ...still,
        recipe: { ...recipe, lr: 0.05 },
        knn: 0.25,
        knnTokens: 20,
      });
      for (const session of [plain, mixing, learning]) session.prefill(ids);
      for (let chunk = 0; chunk < 5; chunk++) {
        const without = await plain.learn();
        const { base_nll, lora_nll, train_loss } = await mixing.learn();
        assert.ok(relativeError([lora_nll ?? 0], [base_nll ?? 1]) < 1e-6, "an adapter that does nothing");
        assert.is(base_nll === without.base_nll, chunk === 0, "an empty memory has no say");
        assert.equal(train_loss, without.train_loss, "it is no part of the training");
        const learnt = await learning.learn();
        assert.is(learnt.base_nll, base_nll);
        if (chunk > 1) assert.not.equal(learnt.lora_nll, base_nll);
      }
      const kept = await learning.snapshot();
      using again = new Session(model, learning.options);
      await again.restore(kept);
      const { seconds: _, ...found } = await again.learn();
      const { seconds: __, ...right } = await learning.learn();
      assert.equal(found, right);
    }
    assert.is(device.stats().liveBuffers, before);
  });

  test(`${name}: what it stores are the states behind the targets`, async () => {
    using model = await loadModel(device, tiny);
    using task = new Task(device);
    using session = new Session(model, {
      chunk: 8,
      window: 12,
      templora: false,
      reuseCache: 0,
      knn: 0.25,
      knnTokens: 100,
    });
    session.prefill(ids.subarray(0, 20));
    while (session.learnt < 20) await session.learn();
    const { neighbours } = await session.snapshot();
    const D = model.config.hidden_size;
    assert.ok(neighbours);
    assert.equal(neighbours.tokens, ids.slice(1, 20));
    let at = 0;
    for (const [start, end] of [
      [0, 8],
      [8, 16],
      [16, 20],
    ] as const) {
      using _scope = task.scope();
      const bos = bosOf(ids, model.config);
      const { inputs, from } = sequence(ids.subarray(0, 20), { index: 0, start, end }, 12, bos);
      const hidden = await model.forward(model.ids(task, inputs), { from }).data();
      assert.ok(relativeError(neighbours.states.subarray(at, at + hidden.length), hidden) < 1e-6);
      at += hidden.length;
    }
    assert.is(at, 19 * D);
  });
}

for (const { name, device } of devices) {
  const few = Int32Array.from(ids, (id) => id % 5); // tokens that come back
  const recipe = { ...recipes.tuned, rank: 4, alpha: 4 };
  const windows = { chunk: 8, window: 12, reuseCache: 2 };

  test(`${name}: a restored memory gives the bits of the one that it was taken of, and forgets what it would have forgotten`, async () => {
    using model = await loadModel(device, tiny);
    using whole = new Session(model, { ...windows, recipe, knn: "auto", knnTokens: 20 });
    whole.prefill(few);
    for (let chunk = 0; chunk < 5; chunk++) await whole.learn();
    using again = new Session(model, whole.options);
    await again.restore(await whole.snapshot());
    for (let chunk = 5; chunk < 8; chunk++) {
      const [a, b] = [await whole.learn(), await again.learn()];
      assert.equal([a.base_nll, a.lora_nll], [b.base_nll, b.lora_nll]);
    }
  });

  test(`${name}: a session that was used is, restored, as a fresh one, whatever the snapshot lacks`, async () => {
    using model = await loadModel(device, tiny);
    const options = { ...windows, recipe, knn: 0.3, knnTokens: 20 };
    using other = new Session(model, { ...options, baseline: false });
    other.prefill(few);
    for (let chunk = 0; chunk < 3; chunk++) await other.learn();
    const taken = await other.snapshot();
    const next = async (used: boolean) => {
      using session = new Session(model, options);
      if (used) session.prefill(few);
      while (used && session.learnt < 48) await session.learn();
      await session.restore(taken);
      const { base_nll, lora_nll } = await session.learn();
      return [base_nll, lora_nll];
    };
    assert.equal(await next(true), await next(false));
  });

  test(`${name}: the memory is no part of what is learnt, where only some tokens are, either`, async () => {
    using model = await loadModel(device, tiny);
    const values = async (knn: number) => {
      using session = new Session(model, { ...windows, recipe: { ...recipe, learn_below: 0.1 }, knn });
      session.prefill(few);
      for (let chunk = 0; chunk < 5; chunk++) await session.learn();
      return (await session.snapshot()).learner?.values;
    };
    assert.equal(await values(0.5), await values(0));
  });

  test(`${name}: the frozen model is read as the adapted one is: through kept keys or anew`, async () => {
    using model = await loadModel(device, tiny);
    for (const change of [{}, { trainWindow: 6 }, { recipe: { ...recipe, lr: 0, context_grad: true } }]) {
      using session = new Session(model, { ...windows, recipe: { ...recipe, lr: 0 }, ...change });
      session.prefill(few);
      while (session.learnt < few.length) {
        const { index, base_nll, lora_nll } = await session.learn();
        assert.ok(
          Math.abs((base_nll ?? NaN) - (lora_nll ?? NaN)) < 1e-5,
          `chunk ${index}: ${base_nll}, ${lora_nll}`,
        );
      }
    }
  });

  test(`${name}: a first chunk longer than window and chunk is read, with kept keys, too`, async () => {
    using model = await loadModel(device, tiny);
    for (const templora of [true, false]) {
      const tokens: number[] = [];
      for await (const record of readText(model, ids, { ...windows, recipe, templora, firstChunk: 40 }))
        tokens.push(record.tokens);
      assert.equal(tokens, [39, 8, 8, 8]);
    }
  });

  test(`${name}: where all states are the same, so is the weight of each`, async () => {
    using task = new Task(device);
    using memory = new Neighbours(task, 3, { share: 0.5, capacity: 8 });
    const pass = (targets: Int32Array) =>
      task.unit(async () => {
        using _scope = task.scope();
        memory.watch(task.tensor(new Float32Array(3 * targets.length).fill(1), [targets.length, 3]));
        return await memory.mix(new Float32Array(targets.length).fill(1), targets);
      });
    await pass(Int32Array.of(7, 7, 7, 8));
    const [seven = NaN, nine = NaN] = await pass(Int32Array.of(7, 9));
    assert.ok(Math.abs(seven + Math.log(0.5 * Math.exp(-1) + 0.5 * 0.75)) < 1e-6);
    assert.ok(Math.abs(nine + Math.log(0.5 * Math.exp(-1))) < 1e-6);
  });
}

test("ppl, sweep and compare take it, and say so in their records", async () => {
  const text = join(temporaryFolder(), "text.txt");
  writeFileSync(text, "It was a dark night, and the sea was darker still. ".repeat(20));
  const flags =
    "--device cpu --threads 1 --chunk 16 --window 16 --rank 4 --lr 0.02 --warmup 0 --max-tokens 100 --quiet --json -";
  const run = async (...argv: string[]) =>
    jsonLines((await templora([...argv, "--model", tiny, ...flags.split(" ")])).stdout);
  const [config, ...lines] = await run("ppl", text, "--knn", "0.2", "--knn-tokens", "50");
  assert.equal([config?.["knn"], config?.["knn_tokens"]], [0.2, 50]);
  const { base_ppl, lora_ppl } = lines.at(-1) ?? {};
  const plain = (await run("ppl", text)).at(-1);
  assert.ok(Number(base_ppl) < Number(plain?.["base_ppl"]), "a text that repeats itself");
  const cells = (all: Awaited<ReturnType<typeof run>>) =>
    all.filter(({ type, text }) => type === "cell" && text === null);
  const swept = cells(await run("sweep", text, "--knn", "0,0.2", "--knn-tokens", "50"));
  assert.equal(
    swept.map(({ ppl }) => ppl),
    [plain?.["base_ppl"], plain?.["lora_ppl"], base_ppl, lora_ppl],
  );
  assert.equal(
    swept.map(({ knn }) => knn),
    [undefined, undefined, 0.2, 0.2],
  );
  const mixed = cells(await run("sweep", text, "--knn", "0.2,auto", "--knn-tokens", "50"));
  assert.equal(
    mixed.map(({ knn }) => knn),
    [0.2, 0.2, "auto", "auto"],
  );
  const compared = cells(
    await run("compare", text, "--method", "knn:0.2", "--method", "knn:auto", "--knn-tokens", "50"),
  );
  assert.equal(
    compared.map(({ ppl }) => ppl),
    [...swept, ...mixed.slice(2)].map(({ ppl }) => ppl),
  );
  for (const [argv, says] of [
    [["ppl", text, "--knn", "1"], /--knn 1: expected a number, at least 0 and below 1; or auto/],
    [["ppl", text, "--knn-tokens", "0"], /--knn-tokens 0/],
    [["compare", text, "--method", "knn:much"], /--method knn:much/],
    [["compare", text, "--method", "knn:1"], /--method knn:1: expected a number, above 0 and below 1/],
    [["compare", text, "--method", "knn:0"], /--method knn:0/],
    [["compare", text, "--method", "knn"], /--method knn: expected a share, such as knn:0\.05/],
    [["ppl", text, "--conventions", "llama-perplexity", "--knn", "0.1"], /--knn/],
    [["generate", "--knn", "0.1"], /unknown option '--knn'/],
  ] as const) {
    const { code, stderr } = await templora([...argv, "--model", tiny]);
    assert.match(stderr, says);
    assert.is(code, 2);
  }
});

test.run();
