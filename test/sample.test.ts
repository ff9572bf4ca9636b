/**
 * Drawing a token on the device, against `draw` on the host: the same candidates and the same frequencies, whatever is cut;
 * draws from the generator follow the softmax; logits that hold no number are an error.
 */
import { at } from "../kernels/base/at.ts";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { BadInputError } from "../engine/errors.ts";
import { Purpose, stream, uniforms } from "../engine/random.ts";
import { Task } from "../engine/task.ts";
import type { Tensor } from "../engine/tensor.ts";
import { sample } from "../kernels/sample/sample.ts";
import { Sampler, type SamplingOptions, draw, greedy } from "../model/sample.ts";
import { openTestDevices } from "./support/backends.ts";
import { SEED, TestRandom } from "./support/rng.ts";

const open: SamplingOptions = { ...greedy, temperature: 1 };

/** The candidates that `draw` on the host takes: those that top-k keeps, in descending order. */
function candidatesOf(logits: Float32Array, top_k: number): { id: number; logit: number }[] {
  return Array.from(logits, (logit, id) => ({ id, logit }))
    .sort((a, b) => b.logit - a.logit || a.id - b.id)
    .slice(0, top_k > 0 ? top_k : logits.length);
}

for (const { name, device } of await openTestDevices()) {
  const task = new Task(device);
  const slow = device.info.kind === "webgpu"; // each draw is a dispatch and a read, so there are fewer

  const pick = async (logits: Tensor, options: SamplingOptions, u: number): Promise<number> => {
    using _scope = task.scope();
    const { temperature, top_k, top_p, min_p } = options;
    const [id = NaN] = await task
      .run(sample, { logits }, { temperature, top_k, top_p, min_p, u })
      .index.ints();
    return id;
  };

  test(`${name}: cuts exactly what draw on the host cuts`, async () => {
    const random = new TestRandom(SEED, "sample cuts");
    const draws = 256;
    for (let round = 0; round < (slow ? 12 : 200); round++) {
      using _scope = task.scope();
      // At most 12 tokens in steps of 1/4 within 2.5: many are equal, and each that is kept has more than 1/256.
      const values = Float32Array.from({ length: 1 + random.below(12) }, () => random.below(11) / 4);
      const options = {
        ...open,
        temperature: 1 + random.below(3) / 2,
        top_k: random.below(values.length + 1),
        top_p: at([1, random.below(1000) / 1000], random.below(2)),
        min_p: at([0, random.below(1000) / 1000], random.below(2)),
      };
      const logits = task.tensor(values);
      const candidates = candidatesOf(values, options.top_k);
      const got = new Map<number, number>();
      const want = new Map<number, number>();
      for (let i = 0; i < draws; i++) {
        const u = (i + 0.5) / draws;
        const [a, b] = [await pick(logits, options, u), draw(candidates, options, u)];
        got.set(a, (got.get(a) ?? 0) + 1);
        want.set(b, (want.get(b) ?? 0) + 1);
      }
      const what = `${values.join(" ")} ${JSON.stringify(options)}`;
      const ids = (counts: Map<number, number>): number[] => [...counts.keys()].sort((a, b) => a - b);
      assert.equal(ids(got), ids(want), what);
      // Of evenly spaced u, an interval of [0, 1) holds its length times their number, give or take one.
      for (const [id, n] of want) assert.ok(Math.abs((got.get(id) ?? 0) - n) <= 2, `${what}: token ${id}`);
    }
  });

  test(`${name}: draws from the generator follow the softmax within 4 sigma`, async () => {
    using _scope = task.scope();
    const values = Float32Array.of(0.3, -1, 2, 0.7, -3, 1.1, 2, 0);
    const logits = task.tensor(values);
    const options = { ...open, temperature: 0.8 };
    const weights = Array.from(values, (l) => Math.exp(l / options.temperature));
    const total = weights.reduce((sum, w) => sum + w);
    const draws = slow ? 2_000 : 20_000;
    const counts = new Array<number>(values.length).fill(0);
    for (let i = 0; i < draws; i++) {
      const [u = NaN] = uniforms(5, stream(Purpose.sampling, 0), i, 1);
      const id = await pick(logits, options, u);
      counts[id] = at(counts, id) + 1;
    }
    for (const [id, count] of counts.entries()) {
      const p = at(weights, id) / total;
      const sigma = Math.sqrt(draws * p * (1 - p));
      assert.ok(Math.abs(count - draws * p) < 4 * sigma, `token ${id}: ${count} of ${draws}, p = ${p}`);
    }
  });

  test(`${name}: a banned or impossible token is never drawn, for no u`, async () => {
    using _scope = task.scope();
    const logits = task.tensor(Float32Array.of(-1e30, 1, -Infinity, 1, -1e30));
    for (const u of [0, 0.25, 0.5, 0.75, 1 - 2 ** -24]) {
      assert.is(await pick(logits, open, u), u < 0.5 ? 1 : 3, `u = ${u}`);
    }
  });

  test(`${name}: options outside their range are refused, those at its ends are not`, () => {
    const made = (options: Partial<SamplingOptions>) => (): void =>
      new Sampler(task, { ...open, ...options }, 1, [], 4)[Symbol.dispose]();
    for (const bad of [
      ...[{ temperature: -1 }, { temperature: NaN }, { top_k: -1 }, { top_k: 1.5 }, { top_p: 0 }],
      ...[{ min_p: -0.1 }, { min_p: 1.1 }, { repetition_penalty: 0 }],
    ])
      assert.throws(made(bad), (error: unknown) => error instanceof BadInputError, JSON.stringify(bad));
    for (const good of [{ temperature: 0 }, { top_k: 0 }, { top_p: 1 }, { min_p: 0 }, { min_p: 1 }])
      made(good)();
  });

  test(`${name}: among equals the lowest ids are kept`, async () => {
    using _scope = task.scope();
    const logits = task.tensor(new Float32Array(1000).fill(2.5));
    const last = 1 - 2 ** -24;
    assert.is(await pick(logits, { ...open, top_k: 300 }, last), 299);
    assert.is(await pick(logits, { ...open, top_p: 0.25 }, last), 249);
    assert.is(await pick(logits, { ...open, top_k: 300, top_p: 0.5 }, last), 149);
    assert.is(await pick(logits, { ...open, min_p: 1 }, last), 999);
    assert.is(await pick(logits, { ...open, top_p: 0 }, last), 0);
    assert.is(draw(candidatesOf(Float32Array.of(1, 1), 0), { ...open, top_p: 0 }, last), 0);
    // as many as transformers' TopPLogitsWarper keeps, where the kept mass is top_p exactly
    for (const [count, top_p, kept] of [
      [2, 0.5, 1],
      [4, 0.75, 3],
      [8, 0.375, 3],
    ] as const)
      assert.is(draw(candidatesOf(new Float32Array(count), 0), { ...open, top_p }, last), kept - 1);
  });

  test(`${name}: logits without a number are an error, not a token`, async () => {
    const row = (at: number, value: number): Float32Array =>
      Float32Array.from({ length: 300 }, (_, i) => (i === at ? value : 1));
    for (const values of [
      row(0, NaN),
      row(299, NaN),
      row(150, -NaN),
      row(7, Infinity),
      new Float32Array(300).fill(-Infinity),
      new Float32Array(300).fill(NaN),
    ]) {
      using _scope = task.scope();
      let error: unknown;
      for (const how of [open, { ...open, temperature: 0 }, { ...open, top_k: 40 }]) {
        using sampler = new Sampler(task, how, 1, [], 1);
        error = null;
        await sampler.next(task.tensor(values, [1, 300]), []).catch((e: unknown) => (error = e));
        assert.instance(error, Error);
        assert.match((error as Error).message, "the logits hold no number");
      }
    }
  });

  test(`${name}: at temperature 0 the most probable token is taken, whatever is cut, and nothing is drawn`, async () => {
    for (const cut of [{}, { top_k: 3 }, { top_p: 0.5 }, { min_p: 0.5 }]) {
      using _scope = task.scope();
      using sampler = new Sampler(task, { ...greedy, ...cut }, 3, [2], 1);
      const id = await sampler.next(task.tensor([[1, 3, 9, 2, 3]]), []); // 2 is banned, 1 and 4 are equal
      assert.equal([id, sampler.draws], [1, 0], JSON.stringify(cut));
    }
  });

  test(`${name}: a top-k beyond the device's list of candidates is cut on the device`, async () => {
    const values = Float32Array.from({ length: 1000 }, (_, i) => ((i * 37) % 1000) / 1000);
    const options = { ...open, top_k: 300 };
    using sampler = new Sampler(task, options, 3, [], 1);
    const least = Math.min(...candidatesOf(values, 300).map(({ logit }) => logit));
    for (let i = 0; i < 100; i++) {
      using _scope = task.scope();
      const id = await sampler.next(task.tensor(values, [1, 1000]), []);
      assert.ok(at(values, id) >= least, `token ${id}`);
    }
  });

  test.after(async () => {
    task.dispose();
    await device.close();
  });
}

test.run();
