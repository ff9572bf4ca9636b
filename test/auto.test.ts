/** `--recipe auto`: what a budget pays, held to what runs cost, and to all that could have been chosen. */
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { openDevice } from "../engine/index.ts";
import { extended } from "../model/extend.ts";
import { configured, openModelFiles } from "../model/model_files.ts";
import { loadModel, readText } from "../templora/index.ts";
import { type Choice, chooseWithin } from "../templora/auto.ts";
import { recipes } from "../templora/config.ts";
import { jsonLines, templora } from "./support/cli.ts";
import { goldenFolder } from "./support/golden.ts";
import { temporaryFolder } from "./support/model_files.ts";

const path = fileURLToPath(new URL("tiny-tied", goldenFolder));
const book = fileURLToPath(new URL("moby-dick-excerpt.txt", goldenFolder));
process.env["TEMPLORA_CACHE"] = temporaryFolder();

test("the widest window that the budget pays, with as many layers as it pays", async () => {
  await using own = await openModelFiles(path);
  const files = configured(own, extended(own.config, { method: "linear", factor: 4 }));
  const layers = files.config.num_hidden_layers;
  const chosen = async (budget: number): Promise<Choice> => chooseWithin(budget, files);
  const all = await chosen(1e6);
  assert.equal([all.recipe, all.windows.window], [recipes.tuned, 960]);
  assert.equal((await chosen(all.cost)).recipe, all.recipe);
  let before = all;
  for (let n = layers - 1; n >= 1; n--) {
    const fewer = await chosen(before.cost - 1e-9);
    assert.equal([fewer.recipe, fewer.windows.window], [{ ...recipes.tuned, layers: n }, 960]);
    assert.ok(fewer.cost < before.cost);
    before = fewer;
  }
  const narrow = await chosen(before.cost - 1e-9);
  assert.is(narrow.windows.window, 448);
  const least = (await chosen(0.1).catch(String)) as string;
  assert.match(least, /a budget of 0\.1x is below the \d\.\d\dx that the cheapest setting takes/);
  const dearer = await chooseWithin(1e6, files, { ...recipes.tuned, epochs: 2 });
  assert.ok(dearer.cost > 1.2 * all.cost, "what else the recipe says counts");
});

test("its cost is that of a run, by its arithmetic and bytes", async () => {
  await using files = await openModelFiles(path);
  const device = await openDevice("cpu", {});
  using model = await loadModel(device, path);
  const { cost, windows, recipe } = await chooseWithin(1e6, files);
  const ids = Int32Array.from({ length: 64 * 60 }, (_, i) => (i * 31) % 250);
  const spent = { base: 0, score: 0, train: 0 };
  for await (const { index, flops, bytes } of readText(model, ids, { ...windows, recipe })) {
    // from the first full window to the next time that the cache is made anew
    if (index < 4 || index >= 4 + windows.reuseCache + 1) continue;
    for (const what of ["base", "score", "train"] as const)
      spent[what] += flops[what] / 5e10 + bytes[what] / 1e10;
  }
  await device.close();
  const found = (spent.score + spent.train) / spent.base;
  assert.ok(Math.abs(cost / found - 1) < 0.05, `${cost}, but ${found}`);
});

test("ppl --recipe auto is ppl with what it chose", async () => {
  const run = async (...flags: string[]): Promise<readonly Record<string, unknown>[]> => {
    const argv = ["ppl", book, "--model", path, "--device", "cpu", "--max-tokens", "300", "--json", "-"];
    return jsonLines((await templora([...argv, ...flags])).stdout);
  };
  await using files = await openModelFiles(path);
  const { cost } = await chooseWithin(1e6, files);
  const [config, chunk] = await run("--recipe", "auto", "--budget", `${0.9 * cost}x`);
  const { layers } = config?.["recipe"] as { layers: number };
  const window = String(config?.["window"]);
  assert.ok(layers > 0);
  const [same, first] = await run("--layers", String(layers), "--window", window);
  assert.equal(config, { ...same, budget: 0.9 * cost });
  assert.is(chunk?.["lora_nll"], first?.["lora_nll"]);
});

for (const [flags, says] of [
  [["--recipe", "auto"], /--recipe auto: .* give --budget, such as --budget 1\.5x/],
  [["--budget", "2x"], /--budget 2x: only --recipe auto has one/],
  [["--recipe", "auto", "--budget", "2y"], /--budget 2y: expected how many times .*, such as 1\.5x/],
  [["--recipe", "auto", "--budget", "2"], /--budget 2: expected how many times/],
  [["--recipe", "auto", "--budget", "0x"], /--budget 0x: expected how many times/],
  [["--recipe", "auto", "--budget", "2x", "--layers", "1"], /--layers 1: --recipe auto chooses it/],
  [["--recipe", "auto", "--budget", "2x", "--window", "8"], /--window 8: --recipe auto chooses it/],
  [["--recipe", "auto", "--budget", "2x", "--no-templora"], /nothing reads it under --no-templora/],
  [["--recipe", "auto", "--budget", "2x", "--load-adapter", "."], /leave --load-adapter out/],
  [["--recipe", "auto", "--budget", "2x", "--conventions", "official"], /not with --conventions official/],
  [["--recipe", "auto", "--budget", "0.2x"], /a budget of 0\.2x is below the/],
  [
    ["--recipe", "outo", "--budget", "2x"],
    /--recipe outo: expected tuned, paper, auto \(did you mean auto\?\)/,
  ],
] as const)
  test(`refused: ${flags.join(" ")}`, async () => {
    const out = join(temporaryFolder(), "none.jsonl");
    const { code, stderr } = await templora(["ppl", book, "--model", path, "--device", "cpu", "--json", out, ...flags]); // prettier-ignore
    assert.is(code, 2);
    assert.match(stderr, says);
  });

test("refused: --recipe auto, where nothing has a budget of time", async () => {
  const { code, stderr } = await templora(["sweep", book, "--model", path, "--recipe", "auto"]);
  assert.is(code, 2);
  assert.match(stderr, /--recipe auto: only ppl chooses by a budget/);
});

test.run();
