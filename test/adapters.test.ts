/**
 * Adapters as files against peft (test/golden/README.md, adapters/): which modules it adapts and how, the logits with what it has
 * saved, and what it could not carry out refused by name. The reverse, peft with what we have saved, is make_adapters.py check.
 */
import fs, { cpSync, existsSync, mkdirSync, readFileSync, readdirSync, writeFileSync } from "node:fs";
import { syncBuiltinESMExports } from "node:module";
import { basename, join } from "node:path";
import { fileURLToPath } from "node:url";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { Task } from "../engine/task.ts";
import { atOnce } from "../engine/turns.ts";
import { at } from "../kernels/base/at.ts";
import { Decoder } from "../model/decoder.ts";
import { KVCache } from "../model/kv_cache.ts";
import { Adapter } from "../templora/adapter.ts";
import { readAdapter } from "../templora/adapter_file.ts";
import { recipes } from "../templora/config.ts";
import {
  type ChunkRecord,
  type Llama,
  Session,
  loadAdapter,
  loadModel,
  readText,
  saveAdapter,
} from "../templora/index.ts";
import { modulesOf } from "../templora/modules.ts";
import { openModelFiles } from "../model/model_files.ts";
import { configFor, layoutOf, parsePeftConfig, peftRead, peftUnread } from "../templora/peft_config.ts";
import { openTestDevices } from "./support/backends.ts";
import {
  type CallOptions,
  type JsonLine,
  type Outcome,
  jsonLines,
  templora,
  sensible,
} from "./support/cli.ts";
import { goldenFolder, readGolden, readTensors, relativeError } from "./support/golden.ts";
import { temporaryFolder } from "./support/model_files.ts";

interface Golden {
  readonly tokens: readonly number[];
  readonly fields: readonly string[];
  readonly layouts: readonly {
    readonly settings: Readonly<Record<string, unknown>>;
    readonly modules?: Readonly<Record<string, readonly [rank: number, scale: number]>>;
  }[];
}

const test = suite("adapters");
const BOUND = 1e-4;
const { tokens, fields, layouts } = readGolden<Golden>("adapters/adapters.json");
const ids = Int32Array.from(tokens);
const pathOf = (name: string): string => fileURLToPath(new URL(name, goldenFolder));
const cases = ["plain", "patterns", "all-linear", "regex", "fused", "fused-patterns"];
const folder = temporaryFolder();
const inFolder = (name: string): string => join(folder, name);
process.env["TEMPLORA_CACHE"] = temporaryFolder();
const devices = await openTestDevices();
test.after(async () => {
  for (const { device } of devices) await device.close();
});

const baseOf = (path: string): string => pathOf(String(configIn(path)["base_model_name_or_path"]));
const configIn = (path: string): Record<string, unknown> =>
  JSON.parse(readFileSync(join(path, "adapter_config.json"), "utf8")) as Record<string, unknown>;

/** A copy of an adapter of peft's with another configuration, or other tensors. */
function copyOf(name: string, change: object, tensors?: (header: Record<string, object>) => void): string {
  const copy = inFolder(`copy-${readdirSync(folder).length}`);
  cpSync(pathOf(`adapters/${name}`), copy, { recursive: true });
  const config = join(copy, "adapter_config.json");
  const json = JSON.parse(readFileSync(config, "utf8")) as object;
  writeFileSync(config, JSON.stringify({ ...json, ...change }));
  if (tensors) {
    const file = join(copy, "adapter_model.safetensors");
    const bytes = readFileSync(file);
    const end = 8 + Number(bytes.readBigUInt64LE(0));
    const header = JSON.parse(bytes.toString("utf8", 8, end)) as Record<string, object>;
    tensors(header);
    const text = Buffer.from(JSON.stringify(header));
    const length = Buffer.alloc(8);
    length.writeBigUInt64LE(BigInt(text.length));
    writeFileSync(file, Buffer.concat([length, text, bytes.subarray(end)]));
  }
  return copy;
}

async function said(attempt: Promise<unknown>): Promise<string> {
  let message = "no error";
  await attempt.catch((error: unknown) => (message = String(error)));
  return message;
}

const logitsOf = (model: Llama, adapter: Adapter): Promise<Float32Array> => {
  using task = new Task(model.device);
  const logits = model.logits(model.forward(model.ids(task, ids), { adapter }));
  return logits.data();
};

for (const { name: deviceName, device } of devices) {
  for (const name of cases)
    test(`${deviceName}: logits with peft's adapter "${name}" are peft's, within ${BOUND}`, async () => {
      const path = pathOf(`adapters/${name}`);
      using model = await loadModel(device, baseOf(path));
      const stored = await loadAdapter(model, path);
      using adapter = new Adapter(model, recipes.paper, 0, stored);
      const want = readTensors(`adapters/${name}/golden.safetensors`).get("logits") ?? [];
      const within = (got: Float32Array, of: ArrayLike<number>): void => {
        const error = relativeError(got, of);
        assert.ok(error <= BOUND, `relative error ${error.toExponential(2)}`);
      };
      within(await logitsOf(model, adapter), want);
      // token by token, where layers that read the same input are one product
      using task = new Task(device);
      using cache = new KVCache(device, model.config, ids.length);
      using decoder = new Decoder(task, model, cache, adapter);
      const V = model.config.vocab_size;
      for (let t = 0; t < ids.length; t++) {
        using _scope = task.scope();
        const hidden = decoder.read(ids.subarray(t, t + 1));
        within(await model.logits(hidden).data(), want.slice(t * V, (t + 1) * V));
      }
    });

  test(`${deviceName}: saved and loaded, a trained adapter has the same bits, patterns and all`, async () => {
    for (const [name, base] of [
      ...["tiny-untied", "families/phi3"].map((base) => [`fresh-${basename(base)}`, base] as const),
      ...cases.map((name) => [name, null] as const),
    ]) {
      using model = await loadModel(device, base ? pathOf(base) : baseOf(pathOf(`adapters/${name}`)));
      const adapter = base ? null : await loadAdapter(model, pathOf(`adapters/${name}`));
      const recipe = { lr: 0.01, warmup: 0, ...(base && { scaling: "lora" as const }) };
      using session = new Session(model, { adapter, chunk: 16, window: 0, recipe });
      session.prefill(ids);
      await session.learn();
      const path = inFolder(`${deviceName}-${name}`);
      await saveAdapter(session, path);
      const [was, is] = [await session.storedAdapter(), await loadAdapter(model, path)];
      assert.is(is.values.size, was.values.size);
      for (const [parameter, values] of was.values) assert.equal(is.values.get(parameter), values);
      assert.equal(is.recipe, was.recipe);
      if (adapter) assert.not.equal(is.toJSON(), adapter.toJSON());
      if (model.family.fused) continue; // its file has other ranks: the next test
      assert.equal(is.layout, was.layout);
      assert.equal(is.toJSON(), was.toJSON());
      if (adapter) assert.equal(is.config, adapter.config);
    }
  });
}

/** scale · B·A [rows, inputs], in float64. */
function delta(A: ArrayLike<number>, B: ArrayLike<number>, rank: number, scale: number): number[][] {
  const inputs = A.length / rank;
  return Array.from({ length: B.length / rank }, (_, row) =>
    Array.from({ length: inputs }, (_, column) => {
      let sum = 0;
      for (let k = 0; k < rank; k++) sum += at(B, row * rank + k) * at(A, k * inputs + column);
      return scale * sum;
    }),
  );
}

const [cpu] = devices;
if (!cpu) throw new Error("there is always a cpu");
const model = await loadModel(cpu.device, pathOf("tiny-untied"));
test.after(() => model.dispose());
const blocks = modulesOf(model);

for (const { settings, modules } of layouts)
  test(`peft's choice of modules, ranks and scales for ${JSON.stringify(settings)}`, async () => {
    const json = { peft_type: "LORA", r: 4, lora_alpha: 8, ...settings };
    const read = async () => atOnce(layoutOf(parsePeftConfig(json, "json"), blocks, "json"));
    const other = Object.keys(modules ?? {}).find((module) => !module.includes(".layers."));
    if (other !== undefined)
      return assert.match(
        await said(read()),
        `target_modules has ${other}; templora adapts the linear layers`,
      );
    if (!modules || JSON.stringify(settings).includes("(?P<"))
      // an error of peft's, or not JavaScript's syntax
      return assert.match(await said(read()), /BadInputError: json: (target_modules|alpha_pattern)/);
    const found = (await read()).flatMap((block) =>
      [...block].map(([{ name }, { rank, scale }]) => [name, [rank, scale]] as const),
    );
    assert.equal(Object.fromEntries(found), modules);
  });

test("several layers in one of peft's modules are saved as one LoRA that adds what theirs do", async () => {
  using phi = await loadModel(cpu.device, pathOf("families/phi3"));
  const recipe = { rank: 3, alpha: 7, targets: ["v_proj", "q_proj", "up_proj", "o_proj"] as const };
  const learning = { scaling: "lora", lr: 0.01, warmup: 0, dropout: 0.25 } as const;
  using session = new Session(phi, { chunk: 16, window: 0, recipe: { ...recipe, ...learning } });
  const path = inFolder("fused-delta");
  await saveAdapter(session, path); // of a B that is 0 nobody can tell whose columns are whose
  const fresh = (await loadAdapter(phi, path)).layout.map((loras) => [...loras].map(([, { rank }]) => rank));
  assert.equal(fresh, new Array(4).fill([6, 6, 6, 3, 3, 3]));
  session.prefill(ids);
  await session.learn();
  await saveAdapter(session, path);
  const { target_modules, rank_pattern, alpha_pattern, r, lora_alpha } = configIn(path);
  assert.equal([r, lora_alpha, configIn(path)["lora_dropout"]], [3, 7, 0.25]);
  assert.equal(target_modules, ["qkv_proj", "o_proj", "gate_up_proj"]);
  assert.equal(rank_pattern, { qkv_proj: 6 });
  assert.equal(alpha_pattern, { qkv_proj: 14 });
  const tensors = readTensors(join(path, "adapter_model.safetensors"));
  assert.is(tensors.size, 4 * 3 * 2);
  const { values } = await session.storedAdapter();
  for (const [layer, weights] of phi.weights.layers.entries())
    for (const [module, names, rank] of [
      ["self_attn.qkv_proj", ["q_proj", "k_proj", "v_proj"], 6],
      ["self_attn.o_proj", ["o_proj"], 3],
      ["mlp.gate_up_proj", ["gate_proj", "up_proj"], 3],
    ] as const) {
      const [A = [], B = []] = ["A", "B"].map((matrix) =>
        tensors.get(`base_model.model.model.layers.${layer}.${module}.lora_${matrix}.weight`),
      );
      const got = delta(A, B, rank, 7 / 3);
      const want = names.flatMap((name) => {
        const [a, b] = ["A", "B"].map((matrix) => values.get(`layers.${layer}.${name}.${matrix}`));
        const [rows, inputs] = weights[name].shape;
        return a && b
          ? delta(a, b, 3, 7 / 3)
          : Array.from({ length: Number(rows) }, () => new Array<number>(Number(inputs)).fill(0));
      });
      assert.equal(got, want, `layer ${layer}: ${module}`);
      assert.ok(want.flat().some((x) => x !== 0));
    }
});

test("what is saved of modules of several ranks is read as it was", async () => {
  await using files = await openModelFiles(pathOf("families/phi3"));
  const modules = modulesOf(files);
  const layout = modules.map(
    (block, i) => new Map(block.map((module) => [module, { rank: i === 0 ? 4 : 2, scale: 2.5 }] as const)),
  );
  const json = { peft_type: "LORA", r: 2, lora_alpha: 5, target_modules: "all-linear" };
  const config = configFor(layout, parsePeftConfig(json, "json"));
  assert.equal(atOnce(layoutOf(config, modules, "json")), layout);
});

test("a pattern that would take for ever, or refers to a group, is refused", async () => {
  const read = (change: object) => said(readAdapter(copyOf("plain", change), blocks));
  assert.match(await read({ target_modules: "(.+)+!" }), /target_modules .* takes longer than 40 ms/);
  assert.match(await read({ rank_pattern: { "(.+)+!": 2 } }), /rank_pattern .* takes longer than 40 ms/);
  const many = Object.fromEntries(Array.from({ length: 300 }, (_, i) => [`layers.${i}.x_proj`, 2]));
  await readAdapter(copyOf("plain", { rank_pattern: many, alpha_pattern: many }), blocks);
  const json = { peft_type: "LORA", r: 4, lora_alpha: 8, target_modules: ["q_proj"], rank_pattern: many };
  const steps = [...layoutOf(parsePeftConfig(json, "json"), blocks, "json")];
  assert.ok(steps.length >= 300, "the event loop can have its turn between two patterns");
  assert.match(await read({ target_modules: "(q)\\1" }), /it refers to a group/);
  for (const set of ["[]q[]", "[^]k[]"])
    assert.match(await read({ alpha_pattern: { [`${set}_proj`]: 2 } }), /has a set that begins with \]/);
});

test("every key of peft's LoraConfig is read, refused or known to be harmless; of others nothing is taken for granted", async () => {
  const known = new Set([...peftRead, ...peftUnread.map(({ name: [json] }) => json ?? "")]);
  assert.equal(fields.filter((field) => !known.has(field)), []); // prettier-ignore
  const read = (change: object) => readAdapter(copyOf("plain", change), blocks);
  for (const {
    name: [key = ""],
    nothing,
  } of peftUnread) {
    for (const none of [null, [], ...(nothing === "any" ? ["anything"] : nothing)])
      await read({ [key ?? ""]: none });
    if (nothing !== "any")
      assert.match(
        await said(read({ [key ?? ""]: "something" })),
        new RegExp(`BadInputError: .*adapter_config\\.json: ${key} is "something"`),
      );
  }
  for (const value of [1, "yes", true, { a: 1 }, [1]])
    assert.match(await said(read({ of_tomorrow: value })), /adapter_config\.json: of_tomorrow is /);
  for (const value of [null, false, []]) await read({ of_tomorrow: value });
});

test("values of the configuration that are none", async () => {
  for (const [change, message] of [
    [{ peft_type: "IA3" }, /peft_type is "IA3"; templora reads LORA/],
    [{ peft_type: undefined }, /peft_type: expected a string, got nothing/],
    [{ r: 0 }, /: r: expected a whole number from 1 to 4096, got 0/],
    [{ r: 1e9 }, /: r: expected a whole number/],
    [{ lora_alpha: 0 }, /lora_alpha: expected a number above 0/],
    [{ lora_alpha: 1e7 }, /lora_alpha: expected a number up to 1000000, got/],
    [{ use_rslora: "yes" }, /use_rslora: expected true or false/],
    [{ target_modules: null }, /target_modules: expected a list, got nothing/],
    [{ target_modules: [] }, /target_modules \[\] names no linear layer/],
    [{ target_modules: [1] }, /target_modules\[0\]: expected a string/],
    [{ rank_pattern: { q_proj: 1.5 } }, /rank_pattern: "q_proj": expected a whole number/],
    [{ alpha_pattern: [] }, /alpha_pattern: expected a JSON object/],
  ] as const)
    assert.match(await said(readAdapter(copyOf("plain", change), blocks)), message);
});

test("tensors that are missing, left over, of another shape or dtype, not finite, or another model's", async () => {
  const first = "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight";
  const read = (change: object, tensors?: (header: Record<string, object>) => void) =>
    said(readAdapter(copyOf("plain", change, tensors), blocks));
  assert.match(
    await read({ r: 5 }),
    /tensor base_model\S+ is \[\d+, \d+\]; adapter_config.json and the model ask for/,
  );
  assert.match(
    await read({ target_modules: ["q_proj"] }),
    /tensor "base_model\S+" is no part of the adapter/,
  );
  const renamed = (header: Record<string, object>): void => {
    header["base_model.model.lm_head.lora_A.weight"] = header[first] ?? {};
    delete header[first];
  };
  assert.match(await read({}, renamed), `tensor ${first} [4, 48] is missing`);
  const int = (header: Record<string, object>): void => {
    header[first] = { ...header[first], dtype: "I32" };
  };
  assert.match(await read({}, int), /dtype "I32"; templora reads/);
  const broken = copyOf("plain", {});
  const file = join(broken, "adapter_model.safetensors");
  const bytes = readFileSync(file);
  bytes.writeFloatLE(NaN, bytes.length - 4);
  writeFileSync(file, bytes);
  assert.match(await said(readAdapter(broken, blocks)), /NonFiniteError: .*tensor base_model\S+ holds NaN/);
  writeFileSync(file, bytes.subarray(0, -1));
  assert.match(await said(readAdapter(broken, blocks)), /data_offsets\[1\]: expected/);
  fs.rmSync(file);
  assert.match(await said(readAdapter(broken, blocks)), /adapter_model.safetensors: no such file/);
  writeFileSync(join(broken, "adapter_model.bin"), "");
  assert.match(await said(readAdapter(broken, blocks)), /adapter_model.bin is a pickle/);
  const other = await said(readAdapter(pathOf("adapters/plain"), blocks.slice(0, -1)));
  assert.match(other, /layers\.2\.\S+" is no part of the adapter/);
  const stored = await loadAdapter(model, pathOf("adapters/plain"));
  using qwen = await loadModel(cpu.device, pathOf("families/qwen3"));
  assert.throws(() => new Adapter(qwen, recipes.paper, 0, stored), /the adapter has 3 layers, the model 4/);
});

test("a session that begins with an adapter has its rank, alpha and targets, and refuses others", async () => {
  const adapter = await loadAdapter(model, pathOf("adapters/plain"));
  const make =
    (recipe: object, templora = true) =>
    () =>
      new Session(model, { adapter, recipe, templora, chunk: 16, window: 16 }).dispose();
  make({ rank: 4, alpha: 8, targets: adapter.recipe.targets.toReversed() })();
  assert.throws(make({ rank: 8 }), /^recipe\.rank 8: the adapter of .*plain has 4; leave recipe\.rank out$/);
  assert.throws(make({ alpha: 4 }), /recipe\.alpha 4: the adapter of .* has 8/);
  assert.throws(make({ targets: ["q_proj"] }), /recipe\.targets q_proj: the adapter of .* has q_proj,k_proj/);
  assert.throws(make({}, false), /adapter: there is none/);
  using session = new Session(model, { adapter, chunk: 16, window: 16 });
  using other = new Session(model, { chunk: 16, window: 16 });
  const snapshot = await session.snapshot();
  assert.match(await said(other.restore(snapshot)), /the snapshot is of a session with another/);
  // its first chunk is scored with it
  const records: ChunkRecord[] = [];
  for await (const record of readText(model, ids, { adapter, chunk: 24, window: 0 })) records.push(record);
  const logits = readTensors("adapters/plain/golden.safetensors").get("logits") ?? new Float32Array();
  const V = model.config.vocab_size;
  const nll = tokens.slice(1).reduce((sum, id, t) => {
    const row = Array.from(logits.subarray(t * V, (t + 1) * V));
    return sum + Math.log(row.reduce((all, x) => all + Math.exp(x), 0)) - (row[id] ?? NaN);
  }, 0);
  assert.ok(relativeError([records[0]?.lora_nll ?? NaN], [nll]) < BOUND);
});

test("values that no float32 holds are put down to the adapter as it was loaded, too", async () => {
  const large = await loadAdapter(model, copyOf("plain", { lora_alpha: 1e6 }));
  for (const values of large.values.values()) values.forEach((x, i) => (values[i] = 1e15 * x));
  using session = new Session(model, { adapter: large, chunk: 16, window: 0 });
  session.prefill(ids);
  assert.match(await said(session.learn()), /so the loaded adapter or its updates went too far: lower lr/);
});

const tiny = pathOf("tiny-untied");
const book = pathOf("moby-dick-excerpt.txt");
const plain = pathOf("adapters/plain");
const common = ["--model", tiny, "--device", "cpu", "--threads", "1", "--chunk", "32", "--window", "32"];
const training = ["--dropout", "0", "--lr", "0.01", "--json", "-"];
const ppl = (...flags: string[]): string[] =>
  sensible(["ppl", book, ...common, ...training, "--max-tokens", "120", ...flags]);
const generate = (...flags: string[]): string[] =>
  sensible(["generate", "--prompt", "Call me Ishmael.", ...common, ...training, "--tokens", "80", ...flags]);
const chunks = (outcome: Outcome): JsonLine[] =>
  jsonLines(outcome.stdout)
    .filter(({ type }) => type === "chunk")
    .map(({ seconds: _, ...rest }) => rest);

test("ppl and generate keep the adapter where they are asked to, and nothing else; a run begins where it ended", async () => {
  for (const [name, command] of [
    ["ppl", ppl],
    ["generate", generate],
  ] as const) {
    const before = readdirSync(folder);
    const without = await templora(command("--rank", "3"));
    assert.is(without.code, 0, without.stderr);
    assert.equal(readdirSync(folder), before);
    const path = inFolder(`${name}-adapter`);
    const saving = await templora(command("--rank", "3", "--save-adapter", path));
    assert.is(saving.code, 0, saving.stderr);
    assert.match(saving.stderr, `templora: the adapter is in ${path}\n`);
    assert.equal(chunks(saving), chunks(without));
    assert.equal(readdirSync(path).sort(), ["adapter_config.json", "adapter_model.safetensors"]);
    assert.is((await readAdapter(path, blocks)).config.r, 3);
    const { peft_type, task_type, bias } = configIn(path);
    assert.equal([peft_type, task_type, bias], ["LORA", "CAUSAL_LM", "none"], "as peft names them");
    const [frozen] = chunks(await templora(ppl("--load-adapter", path, "--epochs", "0")));
    const [again] = chunks(await templora(ppl("--load-adapter", path)));
    const [fresh] = chunks(await templora(ppl("--rank", "3")));
    assert.is(frozen?.["lora_nll"], again?.["lora_nll"]);
    assert.ok(Number(again?.["lora_nll"]) < Number(fresh?.["lora_nll"]), "it has seen this text");
  }
});

test("flags that say otherwise than the adapter, and runs without one", async () => {
  const file = inFolder("file");
  writeFileSync(file, "text");
  mkdirSync(inFolder("notes"));
  writeFileSync(inFolder("notes/diary.txt"), "dear diary");
  mkdirSync(inFolder("other"));
  writeFileSync(inFolder("other/adapter_config.json"), "{}");
  const older = copyOf("plain", {});
  const free = ["--model", tiny, "--device", "cpu", "--load-adapter", plain];
  for (const [argv, message] of [
    [
      ppl("--load-adapter", plain, "--rank", "8"),
      `--rank 8: the adapter of ${plain} has 4; leave --rank out`,
    ],
    [generate("--load-adapter", plain, "--alpha", "2"), `--alpha 2: the adapter of ${plain} has 8`],
    [
      ppl("--load-adapter", plain, "--targets", "q_proj"),
      `--targets q_proj: the adapter of ${plain} has q_proj,`,
    ],
    [ppl("--load-adapter", plain, "--no-templora"), "--load-adapter: with --no-templora there is no adapter"],
    [
      generate("--save-adapter", file, "--no-templora"),
      "--save-adapter: with --no-templora there is no adapter",
    ],
    [["ppl", book, book, ...free, "--save-adapter", inFolder("x")], "--save-adapter: each of the 2 texts"],
    [ppl("--load-adapter", folder), "adapter_config.json: no such file"],
    [ppl("--save-adapter", file), `${file}: not an adapter's folder, so it is left as it is`],
    [ppl("--save-adapter", inFolder("notes")), "notes: not an adapter's folder, so it is left as it is"],
    [generate("--save-adapter", inFolder("other")), "other: not an adapter's folder"],
    [generate("--save-adapter", tiny), "tiny-untied: not an adapter's folder"],
    [
      ppl("--load-adapter", plain, "--save-adapter", plain),
      "--save-adapter would change what --load-adapter reads",
    ],
    [
      ppl("--save-adapter", older, "--json", join(older, "adapter_config.json")),
      "adapter_config.json: named by both --json and --save-adapter",
    ],
    [
      generate("--save-adapter", older, "--out", join(older, "adapter_model.safetensors")),
      "adapter_model.safetensors: named by both --out and --save-adapter",
    ],
    [ppl("--save-adapter", inFolder("nowhere/x")), "nowhere/x: its folder does not exist"],
  ] as const) {
    const { code, stdout, stderr } = await templora(argv);
    assert.is(code, 2, stderr);
    assert.is(stdout, "", "before any work");
    assert.match(stderr, message);
    assert.match(stderr, /^templora: [^\n]*\n$/);
  }
  assert.equal(readdirSync(inFolder("notes")), ["diary.txt"]);
  assert.is(readFileSync(inFolder("other/adapter_config.json"), "utf8"), "{}");
  assert.not.ok(existsSync(inFolder("x")));
});

/** Runs a command that is stopped at its second chunk. */
function interrupted(argv: string[]): Promise<Outcome> {
  let seen = 0;
  const onOutput: CallOptions["onOutput"] = (text, stop) => {
    if (text.includes('"chunk"') && ++seen === 2) stop();
  };
  return templora(argv, { onOutput });
}
const contents = (path: string): Buffer[] =>
  ["adapter_config.json", "adapter_model.safetensors"].map((name) => readFileSync(join(path, name)));

test("interrupted and resumed, a run saves the adapter of an uninterrupted one; its state is that of this adapter", async () => {
  for (const [name, command] of [
    ["p", ppl],
    ["g", generate],
  ] as const) {
    const [whole, parts] = [inFolder(`whole-${name}`), inFolder(`parts-${name}`)];
    const begin = copyOf("patterns", {});
    const state = ["--state", inFolder(`${name}.state`)];
    const uninterrupted = await templora(command("--load-adapter", begin, "--save-adapter", whole));
    assert.is(uninterrupted.code, 0, uninterrupted.stderr);
    const argv = command("--load-adapter", begin, "--save-adapter", parts, ...state);
    const first = await interrupted(argv);
    assert.is(first.code, 130, first.stderr);
    assert.not.ok(existsSync(parts), "not before the end");
    // another adapter in the same place
    const kept = readFileSync(join(begin, "adapter_config.json"));
    writeFileSync(
      join(begin, "adapter_config.json"),
      kept.toString().replace('"lora_alpha":5', '"lora_alpha":6'),
    );
    const other = await templora([...argv, "--resume"]);
    assert.is(other.code, 2);
    assert.match(other.stderr, /the state of another run/);
    writeFileSync(join(begin, "adapter_config.json"), kept);
    const resumed = await templora([...argv, "--resume"]);
    assert.is(resumed.code, 0, resumed.stderr);
    assert.equal(chunks(resumed), chunks(uninterrupted));
    assert.equal(contents(parts), contents(whole));
  }
});

test("a disk that is full at the end leaves the older adapter, and the state, with which it is saved later", async () => {
  const path = inFolder("full");
  assert.is((await templora(ppl("--rank", "2", "--save-adapter", path))).code, 0);
  writeFileSync(join(path, "README.md"), "mine");
  const older = contents(path);
  const argv = generate("--rank", "3", "--save-adapter", path, "--state", inFolder("full.state"));
  const { writeFile } = fs;
  let tensors: number | undefined;
  // The parts of the adapter are opened after its folder is looked at: from then on nothing can be written there.
  const { openSync } = fs;
  let opened = 0;
  fs.openSync = (name, ...rest) => {
    const file = openSync(name, ...rest);
    if (String(name).endsWith("adapter_model.safetensors.part") && ++opened === 2) tensors = file;
    return file;
  };
  fs.writeFile = ((file: number, data: Buffer, done: (error: Error | null) => void) => {
    if (file !== tensors || data.length <= 8) return writeFile(file, data, done);
    tensors = undefined;
    done(Object.assign(new Error("full"), { code: "ENOSPC" }));
  }) as typeof fs.writeFile;
  syncBuiltinESMExports();
  try {
    const { code, stderr } = await templora(argv);
    assert.is(code, 1);
    assert.match(stderr, `${path}: no space left to write it; the same command with --resume tries again\n`);
  } finally {
    Object.assign(fs, { writeFile, openSync });
    syncBuiltinESMExports();
  }
  assert.equal(contents(path), older);
  const again = await templora([...argv, "--resume"]);
  assert.is(again.code, 0, again.stderr);
  assert.is((await readAdapter(path, blocks)).config.r, 3);
  assert.equal(readdirSync(path).sort(), ["README.md", "adapter_config.json", "adapter_model.safetensors"]);
  // a first adapter of which a crash left a part
  const crashed = inFolder("crashed");
  mkdirSync(crashed);
  writeFileSync(join(crashed, "adapter_model.safetensors.part"), "half");
  assert.is((await templora(ppl("--rank", "2", "--save-adapter", crashed))).code, 0);
  assert.is((await readAdapter(crashed, blocks)).config.r, 2);
});

test.run();
