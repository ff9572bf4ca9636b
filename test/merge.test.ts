/**
 * `templora merge`: base and adapter in one, against peft's logits with its adapters, and against w + s·B·A of every weight, which must be
 * within the loss of the format. What transformers makes of a merged folder is make_adapters.py merged.
 */
import { existsSync, mkdirSync, readFileSync, readdirSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { openCpu } from "../engine/backends/cpu/backend.ts";
import { Task } from "../engine/task.ts";
import { at } from "../kernels/base/at.ts";
import { formats, widen } from "../kernels/formats/index.ts";
import { families } from "../model/families/index.ts";
import { linearNames } from "../model/layers.ts";
import { type ModelFiles, expectedTensors, openModelFiles } from "../model/model_files.ts";
import { writeAdapter } from "../templora/adapter_file.ts";
import { type Llama, loadModel } from "../templora/index.ts";
import { modulesOf } from "../templora/modules.ts";
import { StoredAdapter, configOf, parameterOf } from "../templora/stored_adapter.ts";
import { type CallOptions, type Outcome, templora } from "./support/cli.ts";
import { goldenFolder, readGolden, readTensors, relativeError } from "./support/golden.ts";
import {
  type MetadataValue,
  type TensorSpec,
  ggufBytes,
  interleaveRows,
  smallGguf,
  temporaryFolder,
} from "./support/model_files.ts";

const test = suite("merge");
const BOUND = 1e-4;
const folder = temporaryFolder();
const inFolder = (name: string): string => join(folder, name);
const pathOf = (name: string): string => fileURLToPath(new URL(name, goldenFolder));
const device = await openCpu({});
test.after(() => device.close());

function merge(model: string, adapter: string, out: string, ...flags: string[]): Promise<Outcome> {
  return templora(["merge", "--model", model, "--load-adapter", adapter, "--out", out, ...flags]);
}

function logitsOf(model: Llama, ids: Int32Array): Promise<Float32Array> {
  using task = new Task(device);
  return model.logits(model.forward(model.ids(task, ids))).data();
}

/** A golden family's adapter in a file of peft's format. */
async function familyAdapter(name: string): Promise<string> {
  const path = inFolder(`${name}-adapter`);
  await using files = await openModelFiles(pathOf(`families/${name}`));
  const golden = readTensors(`families/${name}/golden.safetensors`);
  const layout = files.config.layers.map(
    () => new Map(linearNames.map((target) => [target, { rank: 2, scale: 2 }])),
  );
  const values = new Map(
    layout.flatMap((_, layer) =>
      linearNames.flatMap((target) =>
        (["A", "B"] as const).map((matrix) => {
          const parameter = parameterOf(layer, target, matrix);
          return [parameter, Float32Array.from(golden.get(`adapter.${parameter}`) ?? [])] as const;
        }),
      ),
    ),
  );
  const config = configOf(
    { rank: 2, alpha: 4, scaling: "lora", targets: linearNames, layers: 0 },
    files.config.layers.length,
  );
  const stored = await StoredAdapter.of(config, layout, values, "golden");
  await writeAdapter(path, stored, modulesOf(files), { dropout: 0 });
  return path;
}

/** The values of every tensor of the model with its adapter, in float64. */
async function expected(base: ModelFiles, name: string): Promise<Map<string, Float64Array>> {
  const golden = readTensors(`families/${name}/golden.safetensors`);
  const all = new Map<string, Float64Array>();
  for (const [tensor, { dtype, shape }] of base.tensors) {
    const values = widen(dtype, await base.read(tensor));
    const found = base.config.layers
      .flatMap((_, layer) => linearNames.map((target) => [layer, target] as const))
      .find(
        ([layer, target]) =>
          tensor.startsWith(`model.layers.${layer}.`) && tensor.endsWith(`.${target}.weight`),
      );
    if (found) {
      const [A, B] = (["A", "B"] as const).map(
        (m) => golden.get(`adapter.${parameterOf(...found, m)}`) ?? [],
      );
      const inputs = at(shape, 1);
      values.forEach((w, i) => {
        const [row, column] = [Math.floor(i / inputs), i % inputs];
        const sum = [0, 1].reduce(
          (total, k) => total + Number(B?.[row * 2 + k]) * Number(A?.[k * inputs + column]),
          0,
        );
        values[i] = w + 2 * sum;
      });
    }
    all.set(tensor, values);
  }
  return all;
}

/** Every value is within what its block loses in the file's format. */
async function withinLoss(merged: ModelFiles, values: ReadonlyMap<string, Float64Array>): Promise<void> {
  assert.equal([...merged.tensors.keys()].sort(), [...values.keys()].sort());
  for (const [name, { dtype }] of merged.tensors) {
    const [got, want] = [widen(dtype, await merged.read(name)), values.get(name) ?? new Float64Array()];
    const format = formats[dtype];
    for (let start = 0; start < want.length; start += format.block) {
      const of = [...want.subarray(start, start + format.block)];
      of.forEach((x, i) => {
        const error = Math.abs(at(got, start + i) - x);
        assert.ok(
          error <= format.loss(of, x) + 1e-7 * Math.abs(x),
          `${name} ${dtype} [${start + i}]: ${error}`,
        );
      });
    }
  }
}

for (const name of readdirSync(pathOf("adapters")).filter((name) => !name.endsWith(".json")))
  test(`merged in f32, the logits with peft's adapter "${name}" are peft's, within ${BOUND}`, async () => {
    const { tokens } = readGolden<{ tokens: readonly number[] }>("adapters/adapters.json");
    const { base_model_name_or_path: base } = readGolden<{ base_model_name_or_path: string }>(
      `adapters/${name}/adapter_config.json`,
    );
    const out = inFolder(`peft-${name}`);
    const { code, stderr } = await merge(pathOf(base), pathOf(`adapters/${name}`), out, "--format", "f32");
    assert.is(code, 0, stderr);
    assert.match(stderr, `the merged model is in ${out}, in f32`);
    using model = await loadModel(device, out);
    const want = readTensors(`adapters/${name}/golden.safetensors`).get("logits") ?? [];
    const error = relativeError(await logitsOf(model, Int32Array.from(tokens)), want);
    assert.ok(error <= BOUND, `relative error ${error.toExponential(2)}`);
  });

for (const { model_type: name } of families)
  test(`${name}: merged in f32 it has the logits of base and adapter; in bf16 every weight is rounded once`, async () => {
    const base = pathOf(`families/${name}`);
    const adapter = await familyAdapter(name);
    const [exact, rounded] = [inFolder(`${name}-f32`), inFolder(`${name}-bf16`)];
    mkdirSync(exact); // an empty folder will do
    assert.is((await merge(base, adapter, exact, "--format", "f32")).code, 0);
    assert.match((await merge(base, adapter, rounded)).stderr, "in bf16\n", "as the model is");
    const { tokens } = readGolden<{ tokens: readonly number[] }>(`families/${name}/golden.json`);
    using model = await loadModel(device, exact);
    const want = readTensors(`families/${name}/golden.safetensors`).get("logits.adapter") ?? [];
    const error = relativeError(await logitsOf(model, Int32Array.from(tokens)), want);
    assert.ok(error <= BOUND, `relative error ${error.toExponential(2)}`);
    await using original = await openModelFiles(base);
    const values = await expected(original, name);
    for (const [path, dtype] of [
      [exact, "float32"],
      [rounded, "bfloat16"],
    ] as const) {
      await using merged = await openModelFiles(path);
      await withinLoss(merged, values);
      const [was, is] = [base, path].map((of) => readFileSync(join(of, "config.json"), "utf8"));
      assert.is(is, was?.replace('"dtype": "bfloat16"', `"dtype": "${dtype}"`));
      for (const file of ["tokenizer.json", "tokenizer_config.json"])
        assert.equal(readFileSync(join(path, file)), readFileSync(join(base, file)));
    }
  });

/** Of LongRoPE, as configuration and tensors. */
const phiMetadata = {
  ...{ "phi3.attention.sliding_window": 7, "phi3.rope.dimension_count": 12 },
  "phi3.rope.scaling.original_context_length": 64,
  "phi3.rope.scaling.attn_factor": Math.sqrt(1 + Math.log(4) / Math.log(64)),
};
const phiFactors = { short: [1, 1.05, 1.2, 1.5, 2, 3], long: [1, 2, 3, 5, 8, 16] };

/** A golden model as GGUF files with f32 tensors, in one part or several; `odd`: a value of its first down_proj. */
async function familyInGguf(
  model: "llama" | "phi3",
  name: string,
  parts: number,
  odd?: number,
): Promise<string> {
  await using base = await openModelFiles(pathOf(`families/${model}`));
  const { config, family } = base;
  const tensors: TensorSpec[] =
    model === "llama"
      ? [{ name: "rope_freqs.weight", type: 0, dims: [4], data: f32([1, 1, 1, 1]) }]
      : Object.entries(phiFactors).map(([which, factors]) => ({
          ...{ name: `rope_factors_${which}.weight`, type: 0, dims: [6], data: f32(factors) },
        }));
  for (const spec of expectedTensors(family, config)) {
    const { gguf, shape, within, interleavedHeads: heads = 0 } = spec;
    const values = widen("bf16", await base.read(spec.name));
    if (gguf === "blk.0.ffn_down.weight" && odd !== undefined) values[77] = odd;
    const bytes = f32(values);
    const data = heads > 0 ? interleaveRows(bytes, heads, at(shape, 0)) : bytes;
    const [file, dims] = [within?.gguf ?? gguf, (within ?? spec).shape.toReversed()];
    const before = tensors.find((tensor) => tensor.name === file);
    if (before) Object.assign(before, { data: Buffer.concat([before.data, data]) });
    else tensors.push({ name: file, type: 0, dims, data });
  }
  const sizes = {
    ...{ block_count: config.num_hidden_layers, embedding_length: config.hidden_size },
    ...{ feed_forward_length: config.intermediate_size, vocab_size: config.vocab_size },
    ...{ "attention.layer_norm_rms_epsilon": config.rms_norm_eps },
  };
  const metadata: Record<string, MetadataValue> = {
    ...Object.fromEntries(
      Object.entries({ ...smallGguf().metadata }).map(([key, x]) => [
        key.replace(/^llama\./, `${model}.`),
        x,
      ]),
    ),
    ...Object.fromEntries(Object.entries(sizes).map(([key, size]) => [`${model}.${key}`, size])),
    ...(model === "phi3" && phiMetadata),
    ...{ "general.architecture": model, "general.file_type": 0 },
    ...{ "tokenizer.ggml.scores": [0.5, -1], "general.alignment": 32, "a.list": ["b", "c"], "a.flag": true },
  };
  const files = Array.from({ length: parts }, (_, no) => {
    const split = { "split.no": no, "split.count": parts, "split.tensors.count": tensors.length };
    const path = inFolder(parts === 1 ? `${name}.gguf` : `${name}-0000${no + 1}-of-0000${parts}.gguf`);
    const [from, to] = [no, no + 1].map((n) => Math.round((n * tensors.length) / parts));
    const ofFirst = no === 0 ? metadata : {};
    writeFileSync(
      path,
      ggufBytes({
        metadata: { ...ofFirst, ...(parts > 1 && split) },
        tensors: tensors.slice(from, to),
      }),
    );
    return path;
  });
  return files[0] ?? "";
}

const f32 = (values: ArrayLike<number>): Uint8Array => new Uint8Array(Float32Array.from(values).buffer);

for (const model of ["llama", "phi3"] as const)
  test(`a GGUF ${model}, in one file or in several, with its metadata: every weight is within what the format loses`, async () => {
    await using original = await openModelFiles(pathOf(`families/${model}`));
    const values = await expected(original, model);
    const adapter = await familyAdapter(model);
    for (const parts of [1, 3]) {
      const base = await familyInGguf(model, `${model}${parts}`, parts);
      await using before = await openModelFiles(base);
      for (const [format, dtype, ftype] of [
        ["F16", "f16", 1],
        ["Q8_0", "q8_0", 7],
        ["Q4_0", "q4_0", 2],
      ] as const) {
        const out = inFolder(`${model}${parts}-${format}.gguf`);
        writeFileSync(out, "an older file");
        const { code, stderr } = await merge(base, adapter, out, "--format", format);
        assert.is(code, 0, stderr);
        await using merged = await openModelFiles(out);
        assert.equal(merged.config, before.config);
        await withinLoss(merged, values);
        const dtypes = new Set(
          [...merged.tensors].map(([name, entry]) => `${/norm|bias/.test(name)} ${entry.dtype}`),
        );
        // rows of 40, which are no whole blocks, are in f16
        assert.equal([...dtypes].sort(), [...new Set(["true f32", `false ${dtype}`, "false f16"])].sort());
        const bytes = readFileSync(out);
        assert.ok(/rope_f\w+\.weight/.test(bytes.toString("latin1")));
        assert.not.ok(bytes.includes("split.count"));
        const key = Buffer.concat([Buffer.from("general.file_type"), Buffer.of(4, 0, 0, 0, ftype, 0, 0, 0)]);
        assert.ok(bytes.includes(key));
        for (const kept of ["tokenizer.ggml.scores", "a.list", "a.flag"])
          assert.is(bytes.indexOf(kept), bytes.lastIndexOf(kept), `${kept} is there once`);
      }
    }
    using merged = await loadModel(device, inFolder(`${model}1-F16.gguf`));
    const { tokens } = readGolden<{ tokens: readonly number[] }>(`families/${model}/golden.json`);
    const want = readTensors(`families/${model}/golden.safetensors`).get("logits.adapter") ?? [];
    const error = relativeError(await logitsOf(merged, Int32Array.from(tokens)), want);
    assert.ok(error < 2e-3, `relative error ${error.toExponential(2)}`); // weights have 11 bits
  });

test("places and formats that cannot be, and what is missing", async () => {
  const [tiny, plain] = [pathOf("tiny-untied"), pathOf("adapters/plain")];
  const base = await familyInGguf("llama", "b", 2);
  const llama = await familyAdapter("llama");
  mkdirSync(inFolder("full"));
  writeFileSync(inFolder("full/notes.txt"), "mine");
  symlinkSync("nowhere", inFolder("link"));
  mkdirSync(inFolder("folder.gguf"));
  const files = readdirSync(folder);
  for (const [attempt, message] of [
    [templora(["merge", "--model", tiny, "--load-adapter", plain]), /--out is missing/],
    [
      merge(tiny, plain, inFolder("link")),
      /link: something else has this name: .* a link that leads nowhere/,
    ],
    [
      merge(base, llama, inFolder("folder.gguf")),
      /folder\.gguf: --out takes a \.gguf file, which this is not/,
    ],
    [templora(["merge", "--model", tiny, "--out", inFolder("x")]), /--load-adapter is missing/],
    [templora(["merge", "--load-adapter", plain, "--out", inFolder("x")]), /--model is missing/],
    [merge(tiny, plain, inFolder("x.gguf")), /--out .*x\.gguf: .* is a Hugging Face folder, and so is what/],
    [merge(base, llama, inFolder("x")), /--out .*x: .* is in GGUF, and so is what it is merged into/],
    [
      merge(tiny, plain, inFolder("x"), "--format", "Q8_0"),
      /--format Q8_0: this model can be merged into bf16, f32/,
    ],
    [merge(base, llama, inFolder("x.gguf"), "--format", "f32"), /--format f32: .* into F16, Q8_0, Q4_0/],
    [merge(tiny, plain, inFolder("full")), /full: --out takes a new folder or an empty one/],
    [merge(tiny, plain, tiny), /--out would change what --model reads/],
    [merge(base, llama, base), /--out would change what --model .*reads/],
    [merge(base, llama, base.replace("00001-of", "00002-of")), /--out would change what --model .*reads/],
    [merge(tiny, plain, inFolder("no/x")), /no\/x: its folder does not exist/],
    [merge(base, llama, inFolder("no/x.gguf")), /no\/x\.gguf: its folder does not exist/],
    [merge(tiny, llama, inFolder("x")), /adapter_(config\.json|model\.safetensors)/],
  ] as const) {
    const { code, stderr } = await attempt;
    assert.is(code, 2, stderr);
    assert.match(stderr, message);
    assert.match(stderr, /^templora: [^\n]*\n$/);
  }
  assert.equal(readdirSync(folder), files);
});

test("values that the format does not hold, and those that are none, are refused, and nothing is left", async () => {
  const llama = await familyAdapter("llama");
  const change = async (value: number): Promise<Outcome> =>
    merge(await familyInGguf("llama", "changed", 1, value), llama, inFolder("large.gguf"));
  const large = await change(1e6);
  assert.is(large.code, 2);
  assert.match(
    large.stderr,
    /changed\.gguf: tensor blk\.0\.ffn_down\.weight has values that are too large for f16; choose another/,
  );
  const none = await change(NaN);
  assert.is(none.code, 1);
  assert.match(none.stderr, /changed\.gguf: tensor blk\.0\.ffn_down\.weight holds NaN/);
  assert.not.ok(readdirSync(folder).some((name) => name.startsWith("large")));
  // Ctrl-C between two pieces
  const stopped: CallOptions = {
    onError: (text, stop) => (text.includes("merging") ? stop() : undefined),
    terminal: true,
  };
  const argv = ["merge", "--model", pathOf("tiny-untied"), "--load-adapter", pathOf("adapters/plain")];
  const { code } = await templora([...argv, "--out", inFolder("stopped")], stopped);
  assert.is(code, 130);
  assert.not.ok(existsSync(inFolder("stopped")));
});

test.run();
