/**
 * Streaming and self-extended attention on texts beyond a model's positions, against the papers' definitions in float64
 * (test/golden/make_reach.py): logits and gradients, at once, in two parts and token by token; what is refused, and what the flag takes.
 */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { AdamW } from "../engine/optim/adamw.ts";
import { record } from "../engine/tape.ts";
import { Task } from "../engine/task.ts";
import { type ModelConfig, servingPositions } from "../model/config.ts";
import { Decoder } from "../model/decoder.ts";
import { extended } from "../model/extend.ts";
import { describeFolder } from "../model/families/index.ts";
import { KVCache } from "../model/kv_cache.ts";
import { Llama, type Pass } from "../model/llama.ts";
import { configured, openModelFiles } from "../model/model_files.ts";
import { type Attention, withAttention } from "../model/reach.ts";
import { Adapter } from "../templora/adapter.ts";
import { allTargets, recipes } from "../templora/config.ts";
import { Session, loadModel, readText } from "../templora/index.ts";
import { openTestDevices } from "./support/backends.ts";
import { jsonLines, templora } from "./support/cli.ts";
import { goldenFolder, readGolden, readTensors, relativeError } from "./support/golden.ts";
import { temporaryFolder } from "./support/model_files.ts";

interface Golden extends Readonly<
  Record<"positions" | "sinks" | "group" | "window" | "last" | "context", number>
> {
  readonly families: readonly string[];
  readonly tokens: readonly number[];
}

const test = suite("reach");
const { families, positions, sinks, group, window, last, context, tokens } = readGolden<Golden>("reach.json");
const golden = readTensors("reach.safetensors");
const ids = Int32Array.from(tokens);
const T = ids.length;
const pathOf = (name: string): string => fileURLToPath(new URL(name, goldenFolder));
process.env["TEMPLORA_CACHE"] = temporaryFolder();

const streaming = { method: "streaming", sinks, window } as const;
const selfExtend = { method: "self-extend", group, window } as const;
const full = { method: "full" } as const;

const devices = await openTestDevices();
test.after(async () => {
  for (const { device } of devices) await device.close();
});

for (const { name: deviceName, device } of devices)
  for (const family of families) {
    const load = async (attention: Attention): Promise<Llama> => {
      await using modelFiles = await openModelFiles(pathOf(`families/${family}`));
      const config = { ...modelFiles.config, max_position_embeddings: positions };
      return await Llama.load(device, configured(modelFiles, withAttention(config, attention)));
    };
    const values = readTensors(`families/${family}/golden.safetensors`);
    const adapterOf = (model: Llama): Adapter => {
      const adapter = new Adapter(
        model,
        { rank: 2, alpha: 4, scaling: "lora", dropout: 0, targets: allTargets, layers: 0 },
        0,
      );
      for (const { name } of adapter.parameters.specs)
        adapter.parameters.set(name, values.get(`adapter.${name}`) ?? new Float32Array());
      return adapter;
    };
    const within = (what: string, got: ArrayLike<number>, want?: ArrayLike<number>, bound = 1e-4): void => {
      const error = relativeError(got, want ?? []);
      assert.ok(error <= bound, `${what}: relative error ${error.toExponential(2)} exceeds ${bound}`);
    };
    /** Gradients of the mean loss, in the adapter, of what follows the tokens read before. */
    const gradients = async (
      task: Task,
      model: Llama,
      adapter: Adapter,
      pass: Pass,
    ): Promise<Map<string, Float32Array>> => {
      using _scope = task.scope();
      using optimizer = new AdamW(task, adapter.parameters, recipes.paper);
      const from = pass.cache?.length ?? 0;
      const { result: nll, tape } = record(task, () => {
        const hidden = model.forward(model.ids(task, ids.subarray(from, -1)), { adapter, ...pass });
        return model.nll(hidden, ids.subarray(from + 1));
      });
      optimizer.zeroGradients();
      tape.backward(nll, task.tensor(new Float32Array(nll.length).fill(1 / nll.length)));
      const found = new Map<string, Float32Array>();
      for (const { name } of adapter.parameters.specs)
        found.set(name, (await adapter.parameters.get(name).grad?.data()) ?? new Float32Array());
      return found;
    };

    for (const attention of [streaming, selfExtend]) {
      const wanted = (name: string): Float32Array =>
        golden.get(`${family}.${attention.method}.${name}`) ?? new Float32Array();

      test(`${deviceName} ${family}, ${attention.method}: logits and gradients, the context's keys with a gradient or as constants`, async () => {
        using model = await load(attention);
        using task = new Task(device);
        using adapter = adapterOf(model);
        const hidden = model.forward(model.ids(task, ids), { adapter, from: T - last });
        within("logits", await model.logits(hidden).data(), wanted("logits"));
        const plain = await gradients(task, model, adapter, {});
        for (const [name, gradient] of plain) within(name, gradient, wanted(`grad.${name}`));
        const again = await gradients(task, model, adapter, { checkpointLayers: 3 });
        assert.equal([...again], [...plain], "the same bits where layers run again");
        using cache = new KVCache(device, model.config, T);
        const afterCached = (count: number, checkpointLayers: number): Promise<Map<string, Float32Array>> => {
          cache.clear();
          model.forward(model.ids(task, ids.subarray(0, count)), { adapter, cache });
          return gradients(task, model, adapter, { cache, checkpointLayers });
        };
        for (const [name, gradient] of await afterCached(context, 0))
          within(`constant ${name}`, gradient, wanted(`constant.grad.${name}`));
        for (const count of [context, 2])
          assert.equal([...(await afterCached(count, 3))], [...(await afterCached(count, 0))]);
      });

      test(`${deviceName} ${family}, ${attention.method}: token by token through a cache, kept and restored on the way`, async () => {
        using model = await load(attention);
        using task = new Task(device);
        using adapter = adapterOf(model);
        using cache = new KVCache(device, model.config, T);
        using decoder = new Decoder(task, model, cache, adapter);
        const V = model.config.vocab_size;
        for (let end = 3; end <= T; end++) {
          using _scope = task.scope();
          const hidden = decoder.read(ids.subarray(end === 3 ? 0 : end - 1, end));
          const row = end - 1 - (T - last);
          if (row >= 0)
            within(
              `token ${end}`,
              await model.logits(hidden).data(),
              wanted("logits").subarray(row * V, (row + 1) * V),
            );
          if (end !== T - 2) continue;
          const kept = await cache.snapshot();
          cache.clear();
          cache.restore(kept, adapter.revision);
        }
      });
    }

    test(`${deviceName} ${family}: within the window, or in groups of one, everything is seen as ever`, async () => {
      const some = ids.subarray(0, 20);
      const logits = async (attention: Attention): Promise<Float32Array> => {
        using model = await load(attention);
        using task = new Task(device);
        return await model.logits(model.forward(model.ids(task, some))).data();
      };
      const usual = await logits(full);
      for (const attention of [
        { method: "streaming", sinks: 4, window: 16 },
        { method: "streaming", sinks: 1, window: 20 },
        { method: "self-extend", group: 3, window: 20 },
        { method: "self-extend", group: 1, window: 5 },
      ] as const)
        within(JSON.stringify(attention), await logits(attention), usual, 2e-6);
      assert.ok(relativeError(await logits(selfExtend), usual) > 1e-3);
    });
  }

const configOf = (name: string, changes: object = {}): ModelConfig => {
  const text = readFileSync(join(pathOf(name), "config.json"), "utf8");
  return describeFolder({ ...(JSON.parse(text) as object), ...changes }).config;
};
const windowsOf = ({ layers }: ModelConfig): (number | string)[] =>
  layers.map((layer) => (layer.far ? `far ${layer.window}` : layer.window));

test("layers without RoPE, and with windows where others see everything, stay as they are", () => {
  const found = (name: string, attention: Attention): (number | string)[] =>
    windowsOf(withAttention(configOf(name), attention));
  for (const attention of [streaming, selfExtend]) {
    assert.equal(found("families/gemma3_text", attention), [7, 7, "far 6", 7]);
    assert.equal(found("families/smollm3", attention), ["far 6", 0, "far 6", 0]);
    assert.equal(
      found("families/mistral", attention),
      new Array(4).fill("far 6"),
      "wider windows, in all layers",
    );
    assert.equal(found("families/mistral", { ...attention, window: 6 }), new Array(4).fill("far 6"));
    assert.throws(
      () => found("families/mistral", { ...attention, window: 7 }),
      new RegExp(`${attention.method}: no layer of the model looks back farther than 7 tokens by position`),
    );
  }
  assert.equal(found("families/gemma3_text", { method: "sliding", window: 3 }), [3, 3, 3, 3]);
  assert.equal(found("families/gemma3_text", { method: "sliding", window: 9 }), [7, 7, 9, 7]);
});

test("how many positions a model then serves", () => {
  const config = configOf("tiny-tied"); // made for 512
  const served = (attention: Attention): number => withAttention(config, attention).max_position_embeddings;
  assert.is(served({ method: "self-extend", group: 8, window: 128 }), (512 - 128) * 8 + 128);
  assert.is(
    served({ method: "self-extend", group: 2 ** 20, window: 128 }),
    2 ** 24,
    "float32 tells no more apart",
  );
  // the last query then stands at 511 towards the first group, and one more would stand at 512
  const [last, next] = [4 * (512 - 6 + 1) - 1, 4 * (512 - 6 + 1)];
  assert.equal(
    [last, next].map((i) => Math.floor(i / 4) + 6 - 1),
    [511, 512],
  );
  assert.is(served({ method: "self-extend", group: 4, window: 6 }), next);
  assert.is(served({ method: "streaming", sinks: 4, window: 508 }), 2 ** 24);
  assert.is(served({ method: "sliding", window: 9 }), 512);
  for (const [attention, message] of [
    [
      { method: "streaming", sinks: 5, window: 508 },
      "streaming: 513 tokens exceed the model's 512 positions",
    ],
    [
      { method: "self-extend", group: 2, window: 513 },
      "self-extend: 513 tokens exceed the model's 512 positions",
    ],
  ] as const)
    assert.throws(() => served(attention), new RegExp(message));
});

test("LongRoPE's other divisors come where a run takes more positions than they reach in groups; dynamic-ntk goes by those taken", () => {
  const phi = configOf("families/phi3", { sliding_window: null }); // 64 positions, 256 with the others
  const grouped = withAttention(phi, { method: "self-extend", group: 4, window: 16 });
  assert.is(grouped.max_position_embeddings, 4 * (64 - 16 + 4));
  const divisors = ({ layers }: ModelConfig): unknown => layers[0]?.rope;
  assert.equal(divisors(servingPositions(grouped, 208)), divisors(phi));
  const longer = servingPositions(grouped, 209);
  assert.equal(divisors(longer), divisors(servingPositions(phi, 65)));
  assert.equal([windowsOf(longer)[0], longer.max_position_embeddings], ["far 16", 4 * (256 - 16 + 4)]);
  assert.equal(
    windowsOf(servingPositions(withAttention(phi, { method: "sliding", window: 9 }), 65)),
    [9, 9, 9, 9],
  );

  const dynamic = extended(configOf("tiny-tied"), { method: "dynamic-ntk", factor: 2 });
  const taken = (attention: Attention, positions: number): unknown => {
    const rope = servingPositions(withAttention(dynamic, attention), positions).layers[0]?.rope?.rope_scaling;
    return rope?.type === "dynamic" && rope.positions;
  };
  assert.equal(
    [600, 2048].map((n) => taken(full, n)),
    [600, 2048],
  );
  assert.equal(
    [100, 2048].map((n) => taken({ method: "self-extend", group: 4, window: 200 }, n)),
    [100, 511 + 200 - 50 + 1],
  );
  assert.equal(
    [100, 2048].map((n) => taken({ method: "streaming", sinks: 4, window: 200 }, n)),
    [100, 204],
  );
});

const [cpu] = devices;
if (!cpu) throw new Error("there is always a cpu");

test("windows and chunks may be as long as the method allows; a cache that slides is refused", async () => {
  const load = (attention: Attention) => loadModel(cpu.device, pathOf("families/llama"), { attention }); // 64 positions
  using model = await load({ method: "self-extend", group: 2, window: 16 });
  const options = { templora: false, window: 80 };
  for await (const { tokens } of readText(model, ids, { ...options, chunk: 32 })) assert.ok(tokens > 0);
  assert.throws(() => new Session(model, { ...options, chunk: 33 }), /exceed the model's 112 positions/);
  using endless = await load(streaming);
  new Session(endless, { ...options, window: 1_000_000 })[Symbol.dispose]();
  const reuse = { chunk: 16, window: 16, recipe: { context_grad: false }, reuseCache: 1 };
  assert.throws(
    () => new Session(endless, reuse),
    /reuseCache 1: where the context gets no gradient, a cache that is used again slides, and far keys/,
  );
  new Session(endless, { ...reuse, recipe: { context_grad: true } })[Symbol.dispose]();
});

test("--attention: what it takes, its record, and a run beyond the model's positions", async () => {
  const book = pathOf("moby-dick-excerpt.txt");
  const ppl = (...flags: string[]): ReturnType<typeof templora> =>
    templora([
      "ppl",
      book,
      "--model",
      pathOf("families/llama"),
      "--device",
      "cpu",
      "--max-tokens",
      "150",
      ...flags,
    ]);
  const run = ["--chunk", "60", "--window", "90", "--no-templora", "--json", "-"];
  const first = async (given: string): Promise<unknown[]> => {
    const [config, chunk] = jsonLines((await ppl(...run, "--attention", given)).stdout);
    return [config?.["attention"], typeof chunk?.["base_nll"]];
  };
  assert.equal(await first("streaming:4+20"), [{ method: "streaming", sinks: 4, window: 20 }, "number"]);
  assert.equal(await first("self-extend:4,16"), [{ method: "self-extend", group: 4, window: 16 }, "number"]);
  for (const given of ["sliding:9", "full"])
    assert.match((await ppl(...run, "--attention", given)).stderr, /exceed the model's 64 positions/);
  for (const [given, message] of [
    ["flul", /--attention flul: expected full, sliding, streaming, self-extend \(did you mean full\?\)/],
    ["full:1", /--attention full:1: expected full$/m],
    ["sliding", /expected sliding:N, such as sliding:256/],
    ["sliding:1:2", /expected sliding:N/],
    ["sliding:0", /--attention sliding:0: expected a whole number, at least 1/],
    ["sliding:1e9", /--attention sliding:1e9: expected a whole number, .* at most 536870912/],
    ["streaming:4", /expected streaming:S\+W, such as streaming:4\+252/],
    ["streaming:4,8", /expected streaming:S\+W/],
    ["streaming:4+x", /--attention streaming:x: expected a whole number, at least 1/],
    ["self-extend:4+8", /expected self-extend:G,W, such as self-extend:4,256/],
    ["self-extend:4,8,9", /expected self-extend:G,W/],
    ["self-extend:4,65", /self-extend: 65 tokens exceed the model's 64 positions/],
  ] as const) {
    const { code, stderr } = await ppl("--attention", given);
    assert.is(code, 2, given);
    assert.match(stderr, message);
  }
  const reuse = [
    "--chunk",
    "16",
    "--window",
    "16",
    "--attention",
    "streaming:4+20",
    "--reuse-cache",
    "1",
    "--context-grad",
    "off",
  ];
  assert.match(
    (await ppl(...reuse)).stderr,
    /--reuse-cache 1: with --attention streaming or self-extend far keys would change their places/,
  );
});

test.run();
