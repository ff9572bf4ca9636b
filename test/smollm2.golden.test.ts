/**
 * A real model against transformers reading the same GGUF (test/golden/README.md): tokens, log-probabilities, greedy text,
 * and the whole Temp-LoRA loop. Needs `templora pull smollm2-135m`.
 */
import { at } from "../kernels/base/at.ts";
import { readFileSync } from "node:fs";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { Task } from "../engine/task.ts";
import { BadInputError } from "../engine/errors.ts";
import { type ModelFiles, openModelFiles } from "../model/model_files.ts";
import { Llama } from "../model/llama.ts";
import { allTargets } from "../templora/config.ts";
import { generate, readText } from "../templora/api.ts";
import { openTestDevices } from "./support/backends.ts";
import { type GoldenLoop, goldenFolder, readGolden } from "./support/golden.ts";
import { unless } from "./support/skip.ts";

interface SmolGolden {
  readonly tokens: readonly number[];
  readonly logprobs: readonly number[];
  readonly greedy: { readonly prompt: number; readonly ids: readonly number[] };
  readonly loop: GoldenLoop;
  readonly tokenizer_cases: readonly {
    readonly text: string;
    readonly ids: readonly number[];
    readonly decoded: string;
  }[];
}

const golden = readGolden<SmolGolden>("smollm2.json");
const tokens = Int32Array.from(golden.tokens);

async function open(): Promise<ModelFiles | null> {
  try {
    return await openModelFiles("smollm2-135m");
  } catch (error) {
    if (error instanceof BadInputError) return null;
    throw error;
  }
}

const modelFiles = await open();

if (!modelFiles) {
  const skip = unless("SmolLM2 is not on this machine: templora pull smollm2-135m", test);
  for (const what of ["tokens", "log-probabilities", "greedy text", "losses of the loop"])
    skip(`SmolLM2: ${what}`, () => {});
} else {
  const { tokenizer } = modelFiles;

  test("the tokenizer out of the GGUF file is transformers'", () => {
    const excerpt = readFileSync(new URL("moby-dick-excerpt.txt", goldenFolder), "utf8");
    assert.equal(tokenizer.encode(excerpt).slice(0, tokens.length), [...tokens]);
    for (const { text, ids, decoded } of golden.tokenizer_cases) {
      assert.equal(tokenizer.encode(text, { parseSpecial: true }), ids, JSON.stringify(text));
      assert.is(tokenizer.decode(ids), decoded);
    }
  });

  for (const { name, device } of await openTestDevices()) {
    const task = new Task(device);
    const model = await Llama.load(device, modelFiles);
    // A software adapter is some ten times slower than the same cores under WASM: it reads fewer tokens.
    const prose = name === "cpu" ? 200 : 64;

    test(`${name}: log-probabilities of ${prose} tokens of prose within 2e-3 nats`, async () => {
      using _scope = task.scope();
      const nll = await model
        .nll(model.forward(model.ids(task, tokens.subarray(0, prose))), tokens.subarray(1, prose + 1))
        .data();
      nll.forEach((value, i) => {
        const want = -at(golden.logprobs, i);
        assert.ok(Math.abs(value - want) <= 2e-3, `token ${i + 1}: ${value} nats, transformers ${want}`);
      });
    });

    if (name === "cpu") {
      test(`${name}: greedy continuation of 50 tokens is identical`, async () => {
        const written: number[] = [];
        const {
          seed: _seed,
          chunk: _chunk,
          window: _window,
          train_window: _,
          ...recipe
        } = golden.loop.recipe;
        for await (const event of generate(model, tokens.subarray(0, golden.greedy.prompt), {
          chunk: 64,
          window: 256,
          trainWindow: 256,
          recipe: { scaling: "lora", context_grad: true, ...recipe, targets: allTargets },
          seed: 0,
          templora: false,
          tokens: 50,
          reuseCache: 0,
          sampling: { temperature: 0, top_k: 0, top_p: 1, min_p: 0, repetition_penalty: 1 },
          stopIds: [],
          banIds: [],
        })) {
          if (event.type === "token") written.push(event.id);
        }
        assert.equal(written, golden.greedy.ids);
      });

      test(`${name}: base and adapted losses of four chunks within 0.2 %`, async () => {
        const { seed, chunk, window, train_window: trainWindow, ...recipe } = golden.loop.recipe;
        const options = { seed, chunk, window, trainWindow, baseline: true, templora: true };
        let index = 0;
        for await (const record of readText(model, tokens.slice(0, 4 * chunk), {
          ...options,
          recipe: { scaling: "lora", context_grad: true, ...recipe, targets: allTargets },
        })) {
          const want = golden.loop.chunks[index++];
          assert.ok(want);
          assert.is(record.tokens, want.tokens);
          for (const key of ["base_nll", "lora_nll"] as const) {
            const error = Math.abs((record[key] ?? NaN) / want[key] - 1);
            assert.ok(error <= 2e-3, `${key} of chunk ${record.index}: ${record[key]}, peft ${want[key]}`);
          }
        }
        assert.is(index, 4);
      });
    }

    test.after(async () => {
      model.dispose();
      await device.close();
    });
  }
  test.after(() => modelFiles.close());
}

test.run();
