/**
 * The dials that add to the loss, or to what is learnt, or score with an average: the loop in PyTorch, float64 (test/golden/make_dials.py), on
 * each device. And what they have in common: a resumed run has the bits of a whole one, either schedule the same, and off they cost nothing.
 */
import { fileURLToPath } from "node:url";
import { isDeepStrictEqual } from "node:util";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { Task } from "../engine/task.ts";
import { linearNames } from "../model/layers.ts";
import type { Llama, Pass } from "../model/llama.ts";
import { Anchor } from "../templora/anchor.ts";
import { type Sequence, partsOf, sequence } from "../templora/chunks.ts";
import { type Recipe, recipes } from "../templora/config.ts";
import { type ChunkRecord, Session, loadModel, readText } from "../templora/index.ts";
import { besideWriter } from "../templora/learner_beside.ts";
import { openTestDevices } from "./support/backends.ts";
import { goldenFolder, readGolden, relativeError } from "./support/golden.ts";

type Changes = Partial<Recipe> & { readonly reuse_cache?: number };
interface Golden {
  /** The squares of the four largest singular values, summed up, of weights and of inputs. */
  readonly starts: Readonly<Record<"weight" | "input", Readonly<Record<string, number>>>>;
  readonly common: Changes & { readonly seed: number; readonly chunk: number; readonly window: number };
  readonly tokens: readonly number[];
  readonly runs: readonly {
    readonly changes: Changes;
    readonly chunks: readonly {
      readonly start: number;
      readonly lora_nll: number;
      readonly train_loss: readonly number[];
    }[];
  }[];
}

const test = suite("dials.golden");
const tiny = fileURLToPath(new URL("tiny-tied", goldenFolder));
const { common, tokens, runs, starts } = readGolden<Golden>("dials.json");
const ids = Int32Array.from(tokens);

/** A session's options for a run of the golden file. */
function optionsOf(changes: Changes) {
  const { seed, chunk, window, ...recipe } = common;
  const { reuse_cache: reuseCache = 0, ...others } = changes;
  return { seed, chunk, window, reuseCache, recipe: { ...recipes.paper, dropout: 0, ...recipe, ...others } };
}

const figures = ({ index, base_nll, lora_nll, train_loss }: ChunkRecord): object => ({
  ...{ index, base_nll, lora_nll, train_loss },
});

/** Matrices [N, K] by the names of layers. */
type Matrices = ReadonlyMap<string, () => Promise<{ data: Float32Array; K: number }>>;

const weightsOf = ({ weights }: Llama): Matrices =>
  new Map(
    weights.layers.flatMap((layer, i) =>
      linearNames.map((target) => [
        `layers.${i}.${target}`,
        async () => ({ data: await layer[target].data(), K: layer[target].shape[1] ?? 0 }),
      ]),
    ),
  );

/** What the frozen model's layers read. */
async function inputsOf(model: Llama, ids: Int32Array): Promise<Matrices> {
  using task = new Task(model.device);
  using _scope = task.scope();
  const found = new Map<string, Promise<{ data: Float32Array; K: number }>>();
  const linears: Pass["linears"] = (layer, name, x) =>
    void found.set(
      `layers.${layer}.${name}`,
      x.data().then((data) => ({ data, K: x.shape[1] ?? 0 })),
    );
  model.forward(model.ids(task, ids), { linears });
  await Promise.all(found.values());
  return new Map([...found].map(([key, matrix]) => [key, () => matrix]));
}

const rowsOf = (data: ArrayLike<number>, K: number): number[][] =>
  Array.from({ length: data.length / K }, (_, i) => Array.from(data).slice(i * K, (i + 1) * K));

const dot = (a: readonly number[], b: readonly number[]): number =>
  a.reduce((sum, x, i) => sum + x * (b[i] ?? NaN), 0);

const devices = await openTestDevices();
test.after(async () => {
  for (const { device } of devices) await device.close();
});

for (const { name, device } of devices) {
  for (const { changes, chunks } of runs)
    test(`${name}, ${JSON.stringify(changes)}: PyTorch's losses`, async () => {
      using model = await loadModel(device, tiny);
      const [got, wanted]: number[][] = [[], []];
      for await (const { index, lora_nll, train_loss } of readText(model, ids, optionsOf(changes))) {
        got?.push(lora_nll ?? NaN, ...train_loss);
        wanted?.push(chunks[index]?.lora_nll ?? NaN, ...(chunks[index]?.train_loss ?? []));
      }
      assert.is(got?.length, wanted?.length);
      const error = relativeError(got ?? [], wanted ?? []);
      assert.ok(error < 1e-5, `relative error ${error.toExponential(2)}`);
    });

  for (const { changes } of runs.slice(1))
    test(`${name}, ${JSON.stringify(changes)}: a session that goes on from a snapshot has the same bits`, async () => {
      using model = await loadModel(device, tiny);
      const learnt = async (stops: boolean) => {
        let session = new Session(model, optionsOf(changes));
        session.prefill(ids);
        const records: object[] = [];
        while (session.learnt < ids.length) {
          records.push(figures(await session.learn()));
          if (!stops) continue;
          const snapshot = await session.snapshot();
          session.dispose();
          session = new Session(model, snapshot.options);
          await session.restore(snapshot);
        }
        const { learner } = await session.snapshot();
        const { values } = await session.storedAdapter();
        session.dispose();
        return { records, learner, values };
      };
      const [whole, resumed] = [await learnt(false), await learnt(true)];
      assert.equal(resumed.records, whole.records);
      assert.ok(isDeepStrictEqual(resumed, whole));
    });

  for (const init of ["weight", "input"] as const)
    test(`${name}: --init ${init}: the best directions, as long as peft's rows, and a model that is what it was`, async () => {
      using model = await loadModel(device, tiny);
      const matrices = init === "weight" ? weightsOf(model) : await inputsOf(model, ids.subarray(0, 15));
      using session = new Session(model, optionsOf({ init, epochs: 1, lr: 0 }));
      session.prefill(ids.subarray(0, 32));
      for (let chunk = 0; chunk < 2; chunk++) {
        const { base_nll, lora_nll } = await session.learn();
        assert.is(lora_nll, base_nll);
      }
      const { values } = await session.storedAdapter();
      for (const [key, read] of matrices) {
        const { data, K } = await read();
        const A = rowsOf(values.get(`${key}.A`) ?? new Float32Array(), K);
        const products = A.map((row) => A.map((other) => 3 * dot(row, other)));
        products.flat().forEach((product, i) => {
          assert.ok(Math.abs(product - Number(i % (A.length + 1) === 0)) < 1e-5, `${key}: ${product}`);
        });
        let held = 0;
        for (const x of rowsOf(data, K)) for (const row of A) held += 3 * dot(row, x) ** 2;
        const share = held / (starts[init][key] ?? NaN);
        assert.ok(share > 0.9 && share < 1.00001, `${key}: ${share} of what numpy's directions hold`);
      }
      assert.is(matrices.size, 21);
    });

  test(`${name}: --init weight: rows beyond a weight's directions stay peft's`, async () => {
    using model = await loadModel(device, tiny);
    const A = async (init: Recipe["init"]) => {
      const changes: Changes = { init, rank: 30, alpha: 30, lr: 0, targets: ["k_proj"], layers: 1 };
      using session = new Session(model, optionsOf(changes));
      session.prefill(ids.subarray(0, 16));
      await session.learn();
      return rowsOf((await session.storedAdapter()).values.get("layers.2.k_proj.A") ?? [], 48);
    };
    const [peft, weight] = [await A("peft"), await A("weight")];
    assert.equal(weight.slice(24), peft.slice(24)); // two heads of 12
    assert.ok(weight.slice(0, 24).every((row) => Math.abs(3 * dot(row, row) - 1) < 1e-5));
  });

  test(`${name}: a chunk that is too well known costs its score alone, and changes nothing`, async () => {
    using model = await loadModel(device, tiny);
    const learnt = async (changes: Changes) => {
      using session = new Session(model, optionsOf({ epochs: 1, ...changes }));
      session.prefill(ids.subarray(0, 16));
      const { flops, train_loss } = await session.learn();
      return { flops, train_loss, steps: (await session.snapshot()).learner?.steps };
    };
    const [all, none] = [await learnt({}), await learnt({ skip_below: 100, kl: 1, replay: 5 })];
    assert.equal([all.steps, none.steps, none.flops.train], [1, 0, 0]);
    assert.equal(none.train_loss, all.train_loss);
    assert.is(none.flops.score, all.flops.score);
  });

  test(`${name}: what the frozen model says of a chunk's parts is what it says of the whole`, async () => {
    using model = await loadModel(device, tiny);
    using task = new Task(device);
    const whole = sequence(ids, { index: 1, start: 20, end: 41 }, 16);
    for (const context of [null, { capacity: 40, reuse: 1 }]) {
      using anchor = new Anchor(task, model, 1, context);
      const read = async (part: Sequence) => [...(await anchor.read(part, whole).data())];
      const all = await read(whole);
      const parts = [];
      for (const part of partsOf(whole, 8)) parts.push(...(await read(part)));
      assert.ok(relativeError(parts, all) < 1e-6);
      const [first = whole] = partsOf(whole, 8);
      const kept = await anchor.snapshot();
      assert.is(anchor.read(first, whole), anchor.read(first, whole), "it is read once");
      assert.is((await anchor.snapshot())?.age, kept?.age);
    }
  });

  test(`${name}: a state without the average, or with another's, is refused`, async () => {
    using model = await loadModel(device, tiny);
    using session = new Session(model, optionsOf({ ema: 0.5 }));
    const snapshot = await session.snapshot();
    const { learner } = snapshot;
    assert.ok(learner?.average);
    for (const average of [null, learner.average.slice(1)])
      await session.restore({ ...snapshot, learner: { ...learner, average } }).then(
        () => assert.unreachable(),
        (error: Error) =>
          assert.match(error.message, /average do not fit together|the state holds \d+ values/),
      );
  });

  if (device.info.kind === "cpu")
    test(`${name}: beside the writer the same bits, written text included`, async () => {
      using model = await loadModel(device, tiny);
      const changes: Changes = { kl: 0.3, replay: 8, ema: 0.5 };
      const found = await Promise.all(
        [undefined, besideWriter].map(async (place) => {
          using session = new Session(model, { ...optionsOf(changes), schedule: "parallel" }, place);
          session.prefill(ids.subarray(0, 40));
          while (session.due) await session.learn();
          for (let count = 0; count < 24; count++) {
            await session.next();
            if (!session.due) continue;
            if (session.learning) await session.take();
            await session.hand();
          }
          if (session.learning) await session.take();
          const { learner } = await session.snapshot();
          return { ids: session.ids, learner, adapter: await session.storedAdapter() };
        }),
      );
      assert.ok(isDeepStrictEqual(found[0]?.ids, found[1]?.ids));
      assert.ok(isDeepStrictEqual(found[0]?.learner, found[1]?.learner));
      assert.equal(found[0]?.adapter.values, found[1]?.adapter.values);
    });
}

test.run();
