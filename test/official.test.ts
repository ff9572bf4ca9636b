/** The conventions of the paper's script: its loop in float64 with transformers and peft (test/golden/README.md), its text, its command. */
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import fc from "./support/fast_check.ts";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { openCpu } from "../engine/backends/cpu/backend.ts";
import { readText } from "../templora/api.ts";
import { type Recipe, recipes } from "../templora/config.ts";
import { loadModel } from "../templora/index.ts";
import { officialText, officialWeight } from "../templora/official.ts";
import { type ChunkRecord, Totals, nothing } from "../templora/records.ts";
import { openTestDevices } from "./support/backends.ts";
import { jsonLines, templora, withoutTimes } from "./support/cli.ts";
import { goldenFolder, readGolden } from "./support/golden.ts";
import { temporaryFolder } from "./support/model_files.ts";

const test = suite("official");
const pathOf = (name: string): string => fileURLToPath(new URL(name, goldenFolder));

interface Golden {
  readonly recipe: Partial<Recipe> & { readonly seed: number };
  readonly tokens: readonly number[];
  readonly runs: readonly {
    readonly name: string;
    readonly first: number;
    readonly stride: number;
    readonly prefix: number;
    readonly tokens: number;
    readonly counted: number;
    readonly mean_base_ppl: number;
    readonly mean_lora_ppl: number;
    readonly chunks: readonly {
      readonly start: number;
      readonly context: number;
      readonly base_nll: number;
      readonly lora_nll: number;
      readonly train_loss: readonly number[];
    }[];
  }[];
}
const { recipe: given, tokens, runs } = readGolden<Golden>("official.json");
const { seed, ...changes } = given;
const recipe = { ...recipes.paper, ...changes };
const near = (got: number | null | undefined, want: number): void =>
  assert.ok(Math.abs((got ?? NaN) / want - 1) < 1e-5, `${got}, not ${want}`);

for (const { name: deviceName, device } of await openTestDevices())
  for (const run of runs)
    test(`${deviceName}: ${run.name}, the script's figures`, async () => {
      using model = await loadModel(device, pathOf("tiny-tied"));
      const ids = Int32Array.from(tokens.slice(0, run.tokens));
      const options = { seed, recipe, chunk: run.stride, window: run.prefix, firstChunk: run.first };
      const totals = new Totals();
      let [index, counted] = [0, 0];
      for await (const record of readText(model, ids, options)) {
        const want = run.chunks[index++];
        assert.equal([record.start, record.context], [want?.start, want?.context]);
        near(record.base_nll, want?.base_nll ?? NaN);
        near(record.lora_nll, want?.lora_nll ?? NaN);
        record.train_loss.forEach((loss, i) => near(loss, want?.train_loss[i] ?? NaN));
        const weight = officialWeight(record, ids.length, run.stride);
        counted += weight;
        totals.add(record, weight);
      }
      assert.equal([index, counted], [run.chunks.length, run.counted]);
      near(totals.perplexities.base_mean_chunk_ppl, run.mean_base_ppl);
      near(totals.perplexities.lora_mean_chunk_ppl, run.mean_lora_ppl);
    });

test("the first chunk counts as one stride, or as the text where that is shorter; the others with all their tokens", () => {
  const record = (index: number, scored: number, context: number): ChunkRecord => ({
    ...{ index, start: 0, tokens: scored, context, base_nll: 1, lora_nll: 1, train_loss: [] },
    ...{ lr: 0, skipped_steps: 0, ...nothing() },
  });
  assert.is(officialWeight(record(0, 1023, 0), 5000, 64), 64);
  assert.is(officialWeight(record(0, 49, 0), 50, 64), 50);
  assert.is(officialWeight(record(1, 64, 16), 5000, 64), 64);
  assert.is(
    officialWeight(record(1, 63, 0), 5000, 64),
    64,
    "without context the first is not scored, but counts",
  );
});

test("the chunks behind a first one that is shorter than the stride have indices of their own, with and without an adapter", async () => {
  await using device = await openCpu({ threads: 1 });
  using model = await loadModel(device, pathOf("tiny-tied"));
  for (const templora of [true, false]) {
    const options = { templora, chunk: 64, window: 16, firstChunk: 30, recipe: { rank: 4 } };
    const found: [number, number][] = [];
    for await (const { index, start } of readText(model, Int32Array.from(tokens.slice(0, 130)), options))
      found.push([index, start]);
    assert.equal(found, [[0, 0], [1, 30], [2, 94]], `adapter ${templora}`); // prettier-ignore
  }
});

async function* each(parts: readonly string[]): AsyncGenerator<string> {
  for (const part of parts) yield await Promise.resolve(part);
}
async function joined(parts: readonly string[]): Promise<string> {
  let text = "";
  for await (const part of officialText(each(parts))) text += part;
  return text;
}

test("a text as Python reads and strips it, however it comes in parts", async () => {
  // str.strip takes the separators \x1c to \x1f and \x85, which String.trim leaves, and leaves \ufeff, which String.trim takes
  assert.is(await joined([" \n\x1c\x85\ufeff a \u3000"]), "\ufeff a");
  assert.is(await joined(["a\r", "\nb\rc\r\n", "\r", "\n "]), "a\nb\nc");
  assert.is(await joined([" ", "\n", ""]), "");
  const piece = fc.stringMatching(/^[ab \r\n\x85]*$/, { maxLength: 6 });
  await fc.assert(
    fc.asyncProperty(fc.array(piece, { maxLength: 6 }), async (parts) => {
      const expected = parts.join("").replaceAll(/^[ \r\n\x85]+|[ \r\n\x85]+$/g, "").replaceAll(/\r\n?/g, "\n"); // prettier-ignore
      assert.is(await joined(parts), expected);
    }),
  );
});

process.env["TEMPLORA_CACHE"] = temporaryFolder();
const folder = temporaryFolder();
const argv = (model: string, text: string): string[] => ["ppl", text, "--model", model, "--device", "cpu"];
const flags = ["--conventions", "official", "--rank", "4", "--json", "-"];

test("the command: the first chunk, the training window for scoring, one text whatever stands around it, and resuming", async () => {
  const book = join(folder, "book.txt");
  const text = "Call me Ishmael. Some years ago, never mind how long precisely. ".repeat(60).trim();
  writeFileSync(book, text);
  const around = join(folder, "around.txt");
  writeFileSync(around, `\r\n \n${text}\n\n`);
  const model = pathOf("tiny-tied"); // of 512 positions
  const more = [
    "--chunk",
    "64",
    "--window",
    "16",
    "--train-window",
    "96",
    "--max-tokens",
    "1200",
    "--extend",
    "linear:8",
  ];
  const whole = await templora([...argv(model, book), ...flags, ...more]);
  assert.is(whole.code, 0, whole.stderr);
  const lines = jsonLines(whole.stdout);
  assert.equal(
    [lines[0]?.["conventions"], lines[0]?.["window"], lines[0]?.["train_window"]],
    ["official", 96, 96],
  );
  assert.is((lines[0]?.["recipe"] as Recipe).context_grad, true, "the paper's recipe");
  const tuned = await templora([...argv(model, book), ...flags, ...more, "--recipe", "tuned"]);
  assert.match(tuned.stderr, /--conventions official: .*--context-grad/);
  const chosen = await templora([
    ...argv(model, book),
    ...flags,
    ...more,
    "--recipe",
    "tuned",
    "--context-grad",
    "on",
  ]);
  assert.is((jsonLines(chosen.stdout)[0]?.["recipe"] as Recipe).lr, recipes.tuned.lr);
  const chunks = lines.filter(({ type }) => type === "chunk");
  assert.equal(chunks.slice(0, 2).map(({ start, tokens: n, context }) => [start, n, context]), [[0, 1023, 0], [1024, 64, 96]]); // prettier-ignore
  const weights = chunks.map(({ tokens: n }, i) => (i === 0 ? 64 : Number(n)));
  const sum = (values: readonly number[]): number => values.reduce((total, value) => total + value, 0);
  const weighted = chunks.map(
    ({ lora_nll, tokens: n }, i) => Math.exp(Number(lora_nll) / Number(n)) * (weights[i] ?? 0),
  );
  near(Number(lines.at(-1)?.["lora_mean_chunk_ppl"]), sum(weighted) / sum(weights));
  const other = await templora([...argv(model, around), ...flags, ...more]);
  const figures = (stdout: string): unknown[] =>
    jsonLines(stdout)
      .filter(({ type }) => type === "chunk")
      .map((line) => ({ ...withoutTimes(line), text: null }));
  assert.equal(figures(other.stdout), figures(whole.stdout));
  let seen = 0;
  const stopped = await templora([...argv(model, book), ...flags, ...more], {
    onOutput: (line, stop) => (line.includes('"chunk"') && ++seen === 1 ? stop() : undefined),
  });
  assert.is(stopped.code, 130);
  const resumed = await templora([...argv(model, book), ...flags, ...more, "--resume"]);
  assert.equal(jsonLines(resumed.stdout).map(withoutTimes), lines.map(withoutTimes));
});

test("a window that has moved on lacks the text's BOS, as in the script; by templora's conventions it begins with it", async () => {
  const [bos, eos] = ["<|bos|>", "<|eos|>"].map((first, i) => {
    const path = join(folder, `begins${i}.txt`);
    writeFileSync(
      path,
      first + "Call me Ishmael. Some years ago, never mind how long precisely. ".repeat(60),
    );
    return path;
  });
  const second = async (path: string | undefined, conventions: string): Promise<unknown> => {
    const windows = [
      "--recipe",
      "paper",
      "--chunk",
      "64",
      "--window",
      "96",
      "--train-window",
      "96",
      "--max-tokens",
      "1088",
    ];
    const more = [
      ...windows,
      "--extend",
      "linear:8",
      "--no-templora",
      "--special",
      "--conventions",
      conventions,
    ];
    const { stdout, stderr } = await templora([
      ...argv(pathOf("tiny-tied"), path ?? ""),
      "--json",
      "-",
      ...more,
    ]);
    const chunks = jsonLines(stdout).filter(({ type }) => type === "chunk");
    return chunks.at(-1)?.["base_nll"] ?? stderr;
  };
  const losses = (conventions: string): Promise<unknown[]> =>
    Promise.all([second(bos, conventions), second(eos, conventions)]);
  const [script, ours] = [await losses("official"), await losses("templora")];
  assert.is(script[0], script[1]);
  assert.is(ours[1], script[1], "a text with no BOS");
  assert.is.not(ours[0], ours[1]);
});

test("refused: a model without positions for the first chunk, and a context without a gradient", async () => {
  const short = await templora([...argv(pathOf("tiny-tied"), pathOf("moby-dick-excerpt.txt")), ...flags]);
  assert.is(short.code, 2);
  assert.match(
    short.stderr,
    /--conventions official: its first chunk has 1024 tokens, the model has 512 positions/,
  );
  const off = ["--extend", "linear:4", "--context-grad", "off"];
  const constant = await templora([
    ...argv(pathOf("tiny-tied"), pathOf("moby-dick-excerpt.txt")),
    ...flags,
    ...off,
  ]);
  assert.match(constant.stderr, /leave --context-grad on/);
});

test.run();
