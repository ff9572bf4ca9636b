/**
 * A loss or logits that hold no finite number are traced to where they came from first, on each device: the weights, by name and in
 * every format; the activations of a layer; an adapter's values; and not to the learning rate where that is not to blame.
 */
import { readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { NonFiniteError } from "../engine/errors.ts";
import { Task } from "../engine/task.ts";
import type { Tensor } from "../engine/tensor.ts";
import { at } from "../kernels/base/at.ts";
import { formats, pack, weightDTypes } from "../kernels/formats/index.ts";
import type { Llama } from "../model/llama.ts";
import { loadModel } from "../model/load.ts";
import { readText } from "../templora/api.ts";
import { Session } from "../templora/session.ts";
import { openTestDevices } from "./support/backends.ts";
import { changedModel } from "./support/changed_model.ts";
import { jsonLines, templora } from "./support/cli.ts";
import { goldenFolder } from "./support/golden.ts";
import { ggufBytes, smallGguf, temporaryFolder } from "./support/model_files.ts";
import { SEED, TestRandom } from "./support/rng.ts";

const folder = temporaryFolder();
const golden = (name: string): string => fileURLToPath(new URL(name, goldenFolder));
const ids = Int32Array.from({ length: 40 }, (_, i) => (i * 37) % 250);
const small = { chunk: 16, window: 16, recipe: { rank: 4, alpha: 4, warmup: 0, dropout: 0 } };

const devices = await openTestDevices();

/** The one line of the error that `run` ends in. */
async function message(run: () => Promise<unknown>, kind: new (text: string) => Error): Promise<string> {
  let error: unknown;
  await run().catch((e: unknown) => (error = e));
  assert.instance(error, kind, String(error));
  assert.not.match((error as Error).message, "\n");
  return (error as Error).message;
}
const traced = (run: () => Promise<unknown>): Promise<string> => message(run, NonFiniteError);
const read = (model: Llama, options: object) => async (): Promise<void> => {
  for await (const _ of readText(model, ids, { ...small, ...options }));
};
const write = (model: Llama, options: object) => async (): Promise<void> => {
  using session = new Session(model, { ...small, ...options, baseline: false });
  session.prefill(ids.subarray(0, 8));
  await session.next();
};
const fill = ({ view, length }: Tensor, model: Llama, value: number): void =>
  model.device.write(view, new Float32Array(length).fill(value));

/** The formats whose blocks fit the small model's rows of 32; the others are found in the same way (test/weight_formats.test.ts). */
const fitting = weightDTypes.filter((dtype) => formats[dtype].block <= 32 && dtype !== "mxfp4"); // mxfp4 has no such value
for (const dtype of fitting)
  for (const special of [NaN, Infinity, -Infinity])
    test(`${dtype}: ${special} in a file is refused under the tensor's name`, async () => {
      const { block, bytes, ggml, exponents } = formats[dtype];
      const random = new TestRandom(SEED, dtype);
      const [spoilt, at32] = ["blk.0.ffn_up.weight", (3 * 32 * bytes) / block]; // the fourth row's first block
      for (const offset of [...(block > 1 ? exponents.at : [0]), null]) {
        const spec = smallGguf({}, (tensors) =>
          tensors.map((tensor) => {
            const count = tensor.dims.reduce<number>((n, dim) => n * Number(dim), 1);
            const type = tensor.dims.length === 1 ? "f32" : dtype; // gains are f32 in GGUF
            const values = Array.from({ length: count }, () => 0.2 * random.normal());
            const data = pack(type, values);
            if (tensor.name === spoilt && offset !== null)
              data.set(pack(block > 1 ? "f16" : dtype, [special]), at32 + offset);
            return { ...tensor, type: formats[type].ggml, data };
          }),
        );
        assert.is(spec.tensors.find(({ name }) => name === spoilt)?.type, ggml);
        const path = join(folder, `${dtype}.gguf`);
        writeFileSync(path, ggufBytes(spec));
        const load = async (): Promise<void> => (await loadModel(at(devices, 0).device, path)).dispose();
        if (offset === null) await load();
        else
          assert.match(
            await message(load, NonFiniteError),
            /\.gguf: tensor blk\.0\.ffn_up\.weight holds (NaN|-?Infinity); the file is damaged, or/,
          );
      }
    });

test("a folder's tensors are checked, too: embedding, gains, the head", async () => {
  for (const name of [
    "model.embed_tokens",
    "model.norm",
    "lm_head",
    "model.layers.2.post_attention_layernorm",
  ]) {
    changedModel(golden("tiny-untied"), join(folder, name), `${name}.weight`, (values) =>
      values.fill(NaN, 7, 8),
    );
    const load = (): Promise<Llama> => loadModel(at(devices, 0).device, join(folder, name));
    assert.match(await message(load, NonFiniteError), `${name}: tensor ${name}.weight holds NaN`);
  }
});

for (const { name: deviceName, device } of devices) {
  test(`${deviceName}: activations that overflow, in the first layer where they do`, async () => {
    using model = await loadModel(device, golden("tiny-untied"));
    const layer = at(model.weights.layers, 1);
    for (const weight of [layer.gate_proj, layer.up_proj]) fill(weight, model, 1e20);
    for (const run of [read(model, {}), read(model, { templora: false }), write(model, {})])
      assert.match(
        await traced(run),
        /: layer 1 gives (NaN|-?Infinity) for token \d+ of those read without an adapter: the model's own values are too large/,
      );
    using other = await loadModel(device, golden("tiny-untied"));
    fill(other.weights.lm_head, other, 3e38);
    assert.match(
      await traced(read(other, {})),
      /: lm_head gives (NaN|-?Infinity) for token \d+ .*without an adapter/,
    );
    fill(other.weights.norm, other, 4e37);
    using task = new Task(device);
    using _scope = task.scope();
    const values = await other.forward(other.ids(task, ids.subarray(0, -1))).data();
    assert.ok(values.every(Number.isFinite), "the last norm's values are finite, though their sum is not");
    assert.not.ok(Number.isFinite(Math.fround(values.reduce((sum, x) => sum + x, 0))));
    assert.match(
      await traced(read(other, { chunk: ids.length })),
      /: lm_head gives (NaN|-?Infinity) for token \d+ .*without an adapter/,
    );
  });

  test(`${deviceName}: an adapter's values, and what they do, are blamed where the base model is finite`, async () => {
    using model = await loadModel(device, golden("tiny-untied"));
    const spoilt = (values: Readonly<Record<string, number>>) => async (): Promise<void> => {
      using session = new Session(model, { ...small, baseline: false });
      for (const [name, value] of Object.entries(values)) {
        const parameters = session.adapter?.parameters;
        parameters?.set(name, new Float32Array(parameters.get(name).length).fill(value));
      }
      session.prefill(ids);
      await session.learn();
    };
    const broken = await traced(spoilt({ "layers.1.v_proj.B": NaN }));
    assert.match(broken, /the adapter's layers\.1\.v_proj\.B holds NaN; .* lower lr or clip$/);
    const large = await traced(spoilt({ "layers.1.v_proj.B": 1e30, "layers.1.v_proj.A": 1e30 }));
    assert.match(large, /: layer 1 gives .* with the adapter; .* lower lr or clip$/);
    const fresh = await traced(spoilt({ "layers.1.v_proj.A": 3e38 }));
    assert.match(fresh, /: layer 1 gives .* with the adapter; not an update, which there was none of/);
  });

  test.after(() => device.close());
}

/**
 * tiny-untied, all of whose weights are finite, which overflows where it reads `token`: one unit of the first MLP is the square of a
 * feature that is large for this token alone, and does not count for the others.
 */
function springing(token: number | null): string {
  const spring = (scale: number) => (values: Float32Array) => void values.fill(0, 0, 48).fill(scale, 0, 1);
  const changes: readonly [string, (values: Float32Array) => void][] = [
    ["model.layers.0.mlp.gate_proj", spring(3e18)],
    ["model.layers.0.mlp.up_proj", spring(3e18)],
    ["model.layers.0.mlp.down_proj", (values) => values.forEach((_, i) => i % 96 === 0 && (values[i] = 0))],
  ];
  const large: (typeof changes)[number] = [
    "model.embed_tokens",
    (values) => values.fill(1e6, 48 * (token ?? 0), 48 * (token ?? 0) + 1),
  ];
  let model = golden("tiny-untied");
  for (const [name, change] of token === null ? changes : [...changes, large]) {
    const next = `${join(folder, "springing")}-${++copies}`;
    changedModel(model, next, `${name}.weight`, change);
    model = next;
  }
  return model;
}
let copies = 0;

test("the command line: one line, exit 1, and what was written before is kept", async () => {
  using model = await loadModel(at(devices, 0).device, springing(null));
  using session = new Session(model, { ...small, templora: false, banIds: model.tokenizer.eosIds });
  session.prefill(Int32Array.from(model.tokenizer.encode("Call me")));
  const prompt = [...session.ids];
  while (session.length < prompt.length + 20) await session.next();
  const ids = [...session.ids];
  const end = ids.findIndex((id, i) => i > prompt.length + 3 && ids.indexOf(id) === i);
  assert.ok(end > 0, String(ids));
  const stream = model.tokenizer.stream({ continued: true });
  const written =
    ids
      .slice(prompt.length, end + 1)
      .map((id) => stream.push(id))
      .join("") + stream.end();
  const spring = springing(at(ids, end));
  const out = join(folder, "kept.txt");
  const { code, stdout, stderr } = await templora([
    ...["generate", "--model", spring, "--device", "cpu", "--threads", "1", "--quiet", "--no-templora"],
    ...["--prompt", "Call me", "--tokens", "20", "--chunk", "16", "--window", "16", "--out", out],
  ]);
  assert.is(code, 1);
  assert.match(
    stderr,
    /^templora: the logits hold no number: layer 0 gives (NaN|-?Infinity) for token \d+ of [^\n]*\n$/,
  );
  assert.is(stdout, written);
  assert.is(readFileSync(out, "utf8"), stdout);
});

test("ppl: the text ends there, the chunks before are told, and the other texts are read", async () => {
  const book = golden("moby-dick-excerpt.txt");
  const text = readFileSync(book, "utf8");
  using model = await loadModel(at(devices, 0).device, springing(null));
  const ids = model.tokenizer.encode(text);
  const late = ids.findIndex((id, i) => i > 130 && i < 180 && ids.indexOf(id) === i);
  assert.ok(late > 0);
  const short = join(folder, "short.txt");
  writeFileSync(short, model.tokenizer.decode([...ids.slice(0, 100)]));
  const json = join(folder, "chunks.jsonl");
  const flags = ["--device", "cpu", "--threads", "1", "--quiet", "--chunk", "64", "--window", "64"];
  const ppl = async (...argv: string[]): Promise<[string, unknown[][]]> => {
    rmSync(json, { force: true }); // what is not the whole replaces no file
    const all = ["ppl", ...argv, "--model", springing(at(ids, late)), ...flags, "--json", json];
    const { code, stderr } = await templora(all);
    assert.is(code, 1, stderr);
    const lines = jsonLines(readFileSync(json, "utf8"));
    return [stderr, lines.map(({ type, text, index }) => [type, text, index])];
  };
  const none = undefined;
  const [config, ...chunks] = [["config", none, none], ["chunk", book, 0], ["chunk", book, 1]]; // prettier-ignore
  for (const flag of ["--no-templora", "--no-baseline"]) {
    const cause =
      "^templora: the loss is not finite: layer 0 gives [^\\n]* for token \\d+ of [^\\n]* without an adapter[^\\n]*";
    const [one, lines] = await ppl(book, flag);
    assert.match(one, new RegExp(`${cause}\\n$`));
    assert.equal(lines, [config, ...chunks]);
    const [several, all] = await ppl(book, short, book, flag);
    const tail = `; failed: ${book}, ${book} (2 of 3 texts)\n`;
    assert.match(several, new RegExp(cause));
    assert.is(several.slice(-tail.length), tail);
    const failed = [...chunks, ["error", book, none]];
    const read = [["chunk", short, 0], ["chunk", short, 1], ["summary", short, none]]; // prettier-ignore
    assert.equal(all, [config, ...failed, ...read, ...failed]);
  }
});

test("a model with a NaN among its weights ends a command with code 1 and its tensor's name", async () => {
  const model = join(folder, "spoilt");
  changedModel(golden("tiny-tied"), model, "model.norm.weight", (values) => values.fill(NaN, 7, 8));
  const flags = ["--model", model, "--device", "cpu", "--quiet"];
  for (const argv of [
    ["ppl", golden("moby-dick-excerpt.txt")],
    ["generate", "--prompt", "Call me"],
  ]) {
    const { code, stderr } = await templora([...argv, ...flags]);
    assert.is(code, 1);
    assert.match(stderr, /^templora: [^\n]*spoilt: tensor model\.norm\.weight holds NaN;[^\n]*\n$/);
  }
});

test.run();
