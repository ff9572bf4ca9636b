/** Perplexity as llama-perplexity measures it: against llama.cpp's own probabilities (test/golden/README.md), and its command. */
import { cpSync, existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { openCpu } from "../engine/backends/cpu/backend.ts";
import { cacheFolder } from "../engine/backends/host/files.ts";
import { servingPositions } from "../model/config.ts";
import { Llama } from "../model/llama.ts";
import { loadModel } from "../model/load.ts";
import { configured, openModelFiles } from "../model/model_files.ts";
import { type WindowRecord, WindowScorer, estimateOf, scoreWindows } from "../templora/window_perplexity.ts";
import { jsonLines, templora, withoutTimes } from "./support/cli.ts";
import { goldenFolder, readGolden } from "./support/golden.ts";
import { temporaryFolder } from "./support/model_files.ts";
import { unless } from "./support/skip.ts";

const tests = suite("window perplexity");
const pathOf = (name: string): string => fileURLToPath(new URL(name, goldenFolder));

interface Measured {
  readonly size: number;
  readonly tokens: number;
  readonly nll: readonly number[];
  readonly ppl: number;
  readonly error: number;
}
const golden = readGolden<Readonly<Record<string, Measured>>>("window_perplexity.json");
const english: Readonly<Record<string, readonly number[]>> = {
  smollm2: readGolden<{ tokens: number[] }>("smollm2.json").tokens,
  gemma3: readGolden<{ tokens: { english: number[] } }>("gemma3.json").tokens.english,
};
const near = (got: number, want: number, bound: number): void =>
  assert.ok(Math.abs(got / want - 1) < bound, `${got}, not ${want}`);

for (const [name, file] of [
  ["smollm2", "smollm2-135m.gguf"],
  ["gemma3", "gemma3-270m.gguf"], // its texts begin with BOS, and so does each window
] as const) {
  const path = join(cacheFolder(), file);
  const test = unless(existsSync(path) ? undefined : `${file} is not on this machine`, tests);
  test(`${name}: every window's loss is llama.cpp's, and so is the estimate`, async () => {
    await using device = await openCpu();
    await using files = await openModelFiles(path);
    using model = await Llama.load(device, files);
    const { size, tokens, nll, ppl, error } = golden[name] ?? {
      size: 0,
      tokens: 0,
      nll: [],
      ppl: 0,
      error: 0,
    };
    using scorer = new WindowScorer(model, Int32Array.from(english[name]?.slice(0, tokens) ?? []), size);
    const records: WindowRecord[] = [];
    for await (const record of scoreWindows(scorer)) records.push(record);
    assert.is(records.length, nll.length);
    // llama.cpp keeps keys and values in f16
    records.forEach((record, i) => near(record.nll, nll[i] ?? 0, 1e-4));
    const found = estimateOf(records);
    near(found.ppl, ppl, 5e-4); // a mean of 5 nats within 1e-4
    near(found.error, error, 1e-3);
    const half = size >> 1;
    assert.equal(
      records.map(({ start, tokens: n, context }) => [start, n, context]),
      nll.map((_, i) => [i * size + half + 1, size - half - 1, half + 1]),
    );
  });
}

tests("windows of an odd length; those that the model has no positions for", async () => {
  await using device = await openCpu({ threads: 1 });
  using model = await loadModel(device, pathOf("tiny-tied"));
  const ids = Int32Array.from({ length: 1100 }, (_, i) => (i * 29) % 256);
  using scorer = new WindowScorer(model, ids.subarray(0, 21), 7);
  const records: WindowRecord[] = [];
  for await (const record of scoreWindows(scorer)) records.push(record);
  // perplexity.cpp: first = n_ctx/2, rounded down, and n_ctx − 1 − first are scored
  assert.equal(records.map(({ start, tokens, context }) => [start, tokens, context]), [[4, 3, 4], [11, 3, 4], [18, 3, 4]]); // prettier-ignore
  using most = new WindowScorer(model, ids, 512);
  assert.is(most.done, false);
  assert.throws(() => new WindowScorer(model, ids, 513), /window 513: the model has 512 positions/);
});

tests("every window begins with BOS where the text does, and else with its own token", async () => {
  await using device = await openCpu({ threads: 1 });
  using model = await loadModel(device, pathOf("tiny-tied"));
  const { bosId } = model.tokenizer;
  if (bosId === null) return assert.unreachable("the model has one");
  const lossesOf = async (ids: Int32Array): Promise<number[]> => {
    using scorer = new WindowScorer(model, ids, 8);
    const losses: number[] = [];
    for await (const { nll } of scoreWindows(scorer)) losses.push(nll);
    return losses;
  };
  const plain = Int32Array.from({ length: 24 }, (_, i) => 40 + i);
  const begun = plain.with(0, bosId);
  const written = begun.with(8, bosId).with(16, bosId);
  const [first, ...others] = await lossesOf(plain);
  assert.equal(await lossesOf(begun), await lossesOf(written));
  for (const [i, from] of [8, 16].entries()) {
    const [loss] = await lossesOf(Int32Array.of(...plain.subarray(from), ...plain));
    assert.is(others[i], loss);
  }
  for (const [i, loss] of (await lossesOf(written)).entries()) assert.is.not(loss, [first, ...others][i]);
});

tests("the estimate of losses known by hand", () => {
  const one = { tokens: 2, nll: 3, nll_squares: 5 }; // losses 1 and 2
  const { tokens, ppl, error } = estimateOf([one, { ...one }]);
  assert.is(tokens, 4);
  near(ppl, Math.exp(1.5), 1e-12);
  near(error, Math.sqrt(0.25 / 3) * Math.exp(1.5), 1e-12);
  assert.is(estimateOf([{ tokens: 2, nll: 2, nll_squares: 2 }]).error, 0, "all alike");
});

process.env["TEMPLORA_CACHE"] = temporaryFolder();
const book = pathOf("moby-dick-excerpt.txt");
const argv = ["ppl", book, book, "--model", pathOf("tiny-tied"), "--device", "cpu"];
const flags = ["--conventions", "llama-perplexity", "--window", "64", "--max-tokens", "400"];

tests(
  "the command: a line a window, the tool's last line, and a resumed run with the lines of an uninterrupted one",
  async () => {
    const json = [...argv, ...flags, "--json", "-"];
    const whole = await templora(json);
    assert.is(whole.code, 0, whole.stderr);
    const lines = jsonLines(whole.stdout);
    assert.equal(
      lines.map(({ type }) => type),
      ["config", ...[1, 2].flatMap(() => [...Array<string>(6).fill("chunk"), "summary"])],
    );
    assert.equal(
      [lines[0]?.["conventions"], lines[0]?.["window"], lines[0]?.["recipe"]],
      ["llama-perplexity", 64, undefined],
    );
    const summary = lines.at(-1) ?? {};
    const chunks = lines.slice(1, 7);
    const sum = chunks.reduce((total, chunk) => total + Number(chunk["base_nll"]), 0);
    near(Number(summary["base_ppl"]), Math.exp(sum / Number(summary["tokens"])), 1e-12);
    const shown = await templora([...argv, ...flags]);
    const [ppl, error] = [
      Number(summary["base_ppl"]).toFixed(4),
      Number(summary["base_ppl_error"]).toFixed(5),
    ];
    assert.ok(shown.stdout.endsWith(`Final estimate: PPL = ${ppl} +/- ${error}\n`), shown.stdout);
    for (const stopAt of [1, 6, 9]) {
      let chunks = 0;
      const stopped = await templora(json, {
        onOutput: (text, stop) => (text.includes('"chunk"') && ++chunks === stopAt ? stop() : undefined),
      });
      assert.is(stopped.code, 130, stopped.stderr);
      const resumed = await templora([...json, "--resume"]);
      assert.equal(jsonLines(resumed.stdout).map(withoutTimes), lines.map(withoutTimes));
    }
  },
);

tests(
  "a run of several texts that is stopped in the last has the others' lines when it is resumed",
  async () => {
    const folder = temporaryFolder();
    const paths = [0, 1, 2].map((i) => {
      const path = join(folder, `${i}.txt`);
      writeFileSync(path, readFileSync(book, "utf8").slice(300 * i, 300 * i + 600));
      return path;
    });
    const json = ["ppl", ...paths, ...argv.slice(3), ...flags, "--max-tokens", "130", "--json", "-"];
    const whole = await templora(json);
    assert.is(whole.code, 0, whole.stderr);
    let chunks = 0;
    const stopped = await templora(json, {
      onOutput: (text, stop) => (text.includes('"chunk"') && ++chunks === 5 ? stop() : undefined),
    });
    assert.is(stopped.code, 130);
    const resumed = await templora([...json, "--resume"]);
    assert.equal(jsonLines(resumed.stdout).map(withoutTimes), jsonLines(whole.stdout).map(withoutTimes));
  },
);

tests(
  "a state is that of one text and one size of windows, and is gone when the run is complete",
  async () => {
    const folder = temporaryFolder();
    const [state, other] = [join(folder, "windows.state"), join(folder, "other.txt")];
    const text = readFileSync(book, "utf8");
    writeFileSync(other, `${text.slice(0, 300)}other${text.slice(305)}`);
    const run = (path: string, ...more: string[]): string[] => [
      ...["ppl", path, ...argv.slice(3), ...flags, "--state", state, "--json", "-", ...more],
    ];
    const stopped = await templora(run(book), {
      onOutput: (line, stop) => (line.includes('"chunk"') ? stop() : undefined),
    });
    assert.is(stopped.code, 130);
    for (const resumed of [run(other, "--resume"), run(book, "--window", "32", "--resume")]) {
      const { code, stderr } = await templora(resumed);
      assert.match(stderr, /windows\.state: the state of another run/);
      assert.is(code, 2);
    }
    assert.is((await templora(run(book, "--resume"))).code, 0);
    assert.not.ok(existsSync(state));
  },
);

tests(
  "refused: a text of less than two windows, a window that the model has no positions for, what nothing reads",
  async () => {
    const short = join(temporaryFolder(), "short.txt");
    writeFileSync(short, "Call me Ishmael.");
    const some = join(temporaryFolder(), "some.txt");
    writeFileSync(some, readFileSync(book, "utf8").slice(0, 100)); // between one window and two
    const model = join(temporaryFolder(), "model");
    cpSync(pathOf("tiny-tied"), model, { recursive: true });
    for (const [more, message] of [
      [["ppl", short, ...argv.slice(3), ...flags], /short\.txt: \d+ tokens, fewer than two windows of 64/],
      [[...argv, ...flags, "--window", "600"], /--window 600: the model has 512 positions/],
      [[...argv, ...flags, "--window", "2"], /--window 2: expected at least 4/],
      [[...argv, ...flags, "--save-adapter", "x"], /--save-adapter: .*llama-perplexity/],
      [[...argv, ...flags, "--chunk", "64"], /--chunk: .*llama-perplexity/],
      [[...argv, ...flags, "--lr", "3"], /--lr: .*llama-perplexity/],
      [[...argv, ...flags, "--reuse-cache", "1"], /--reuse-cache: .*llama-perplexity/],
      [[...argv, ...flags, "--buckets", "100"], /--buckets: .*llama-perplexity/],
      [[...argv, ...flags, "--no-baseline"], /--no-baseline: .*llama-perplexity/],
      [[...argv, ...flags, "--context-grad", "off"], /--context-grad: .*llama-perplexity/],
      [[...argv, ...flags, "--train-window", "64"], /--train-window: .*llama-perplexity/],
      [[...argv, ...flags, "--load-adapter", "x"], /--load-adapter: .*llama-perplexity/],
      [[...argv, ...flags, "--report", "x"], /--report: .*llama-perplexity/],
      [["ppl", some, ...argv.slice(3), ...flags], /some\.txt: \d+ tokens, fewer than two windows of 64/],
      [
        [...argv, ...flags, "--model", model, "--json", join(model, "x")],
        /--json would change what --model reads/,
      ],
      [
        [...argv, ...flags, "--conventions", "lama"],
        /--conventions lama: expected templora, official, llama-perplexity/,
      ],
    ] as const) {
      const { code, stderr } = await templora(more);
      assert.is(code, 2);
      assert.match(stderr, message);
    }
  },
);

tests("windows of more than LongRoPE's usual positions are read with its other divisors", async () => {
  const folder = join(temporaryFolder(), "phi3"); // 64 positions, 256 with the others
  cpSync(pathOf("families/phi3"), folder, { recursive: true });
  const config = JSON.parse(readFileSync(join(folder, "config.json"), "utf8")) as object;
  writeFileSync(join(folder, "config.json"), JSON.stringify({ ...config, sliding_window: null }));
  const run = (size: number): ReturnType<typeof templora> =>
    templora([
      ...["ppl", book, "--model", folder, "--device", "cpu", "--conventions", "llama-perplexity"],
      ...["--window", String(size), "--max-tokens", "520", "--json", "-"],
    ]);
  await using device = await openCpu({ threads: 1 });
  await using files = await openModelFiles(folder);
  const ids = Int32Array.from(files.tokenizer.encode(readFileSync(book, "utf8")).slice(0, 520));
  for (const size of [65, 256]) {
    const { code, stdout, stderr } = await run(size);
    assert.is(code, 0, stderr);
    using model = await Llama.load(device, configured(files, servingPositions(files.config, size)));
    using scorer = new WindowScorer(model, ids, size);
    const expected: number[] = [];
    for await (const { nll } of scoreWindows(scorer)) expected.push(nll);
    const found = jsonLines(stdout).filter(({ type }) => type === "chunk");
    found.forEach(({ base_nll }, i) => near(Number(base_nll), expected[i] ?? 0, 1e-5));
    assert.equal([found.length, expected.length], [Math.floor(520 / size), Math.floor(520 / size)]);
  }
  const refused = await run(257);
  assert.match(refused.stderr, /--window 257: the model has 256 positions/);
  assert.is(refused.code, 2);
});

tests("a run that the memory does not hold is refused before it begins", async () => {
  const original = process.availableMemory.bind(process);
  process.availableMemory = () => 100_000;
  try {
    const { code, stdout, stderr } = await templora([...argv, ...flags]);
    assert.is(code, 2);
    assert.is(stdout, "");
    assert.match(stderr, /^templora: this run needs /m);
  } finally {
    process.availableMemory = original;
  }
});

tests.run();
