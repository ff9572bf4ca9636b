/**
 * Gemma 3 270M in Q4_K_M against transformers reading the same GGUF (test/golden/README.md): tokens and log-probabilities of English and
 * Chinese prose, greedy text, and the whole Temp-LoRA loop. Needs `templora pull gemma3-270m`. On the CPU: a software
 * adapter would take minutes for its 262,144 logits a token.
 */
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { openCpu } from "../engine/backends/cpu/backend.ts";
import { cacheFolder } from "../engine/backends/host/files.ts";
import { Task } from "../engine/task.ts";
import { at } from "../kernels/base/at.ts";
import { Llama } from "../model/llama.ts";
import { openModelFiles } from "../model/model_files.ts";
import { generate, readText } from "../templora/api.ts";
import { allTargets } from "../templora/config.ts";
import { type GoldenLoop, goldenFolder, readGolden } from "./support/golden.ts";
import { unless } from "./support/skip.ts";

interface Golden {
  readonly tokens: Readonly<Record<"english" | "chinese", readonly number[]>>;
  readonly chinese: string;
  readonly logprobs: Readonly<Record<"english" | "chinese", readonly number[]>>;
  readonly greedy: { readonly prompt: number; readonly ids: readonly number[] };
  readonly loop: GoldenLoop;
}

const tests = suite("gemma3");
const path = join(cacheFolder(), "gemma3-270m.gguf");
const missing = existsSync(path)
  ? undefined
  : "Gemma 3 270M is not on this machine: templora pull gemma3-270m";
const test = unless(missing, tests);
const golden = readGolden<Golden>("gemma3.json");
const english = Int32Array.from(golden.tokens.english);

/** Opened once, by the first test that needs it. */
let opened: Promise<Llama> | undefined;
const load = async (): Promise<Llama> => {
  await using modelFiles = await openModelFiles(path);
  return await Llama.load(await openCpu({ v8Flags: true }), modelFiles);
};
const model = (): Promise<Llama> => (opened ??= load());
tests.after(async () => {
  const used = await opened;
  used?.dispose();
  await used?.device.close();
});

test("tokens of English and Chinese prose", async () => {
  const { tokenizer } = await model();
  const excerpt = readFileSync(new URL("moby-dick-excerpt.txt", goldenFolder), "utf8");
  assert.equal(tokenizer.encode(excerpt).slice(0, english.length), [...english]);
  assert.equal(tokenizer.encode(golden.chinese), [...golden.tokens.chinese]);
});

for (const language of ["english", "chinese"] as const)
  test(`log-probabilities of 200 tokens of ${language} prose within 2e-3 nats`, async () => {
    const llama = await model();
    using task = new Task(llama.device);
    const ids = Int32Array.from(golden.tokens[language]);
    const nll = await llama
      .nll(llama.forward(llama.ids(task, ids.subarray(0, 200))), ids.subarray(1, 201))
      .data();
    nll.forEach((value, i) => {
      const want = -at(golden.logprobs[language], i);
      assert.ok(Math.abs(value - want) <= 2e-3, `token ${i + 1}: ${value} nats, transformers ${want}`);
    });
  });

test("greedy continuation of 50 tokens is identical", async () => {
  const written: number[] = [];
  const { prompt, ids } = golden.greedy;
  const options = { tokens: ids.length, templora: false, chunk: 64, window: 256 };
  for await (const event of generate(await model(), english.subarray(0, prompt), options))
    if (event.type === "token") written.push(event.id);
  assert.equal(written, ids);
});

test("base and adapted losses of four chunks within 0.2 %", async () => {
  const { seed, chunk, window, train_window: trainWindow, reuse_cache: _, ...recipe } = golden.loop.recipe;
  const records = readText(await model(), english.slice(0, 4 * chunk), {
    ...{ seed, chunk, window, trainWindow, baseline: true, templora: true },
    recipe: { scaling: "lora", context_grad: true, ...recipe, targets: allTargets },
  });
  let index = 0;
  for await (const record of records) {
    const want = at(golden.loop.chunks, index++);
    for (const key of ["base_nll", "lora_nll"] as const) {
      const error = Math.abs((record[key] ?? NaN) / want[key] - 1);
      assert.ok(error <= 2e-3, `${key} of chunk ${record.index}: ${record[key]}, peft ${want[key]}`);
    }
  }
  assert.is(index, 4);
});

tests.run();
