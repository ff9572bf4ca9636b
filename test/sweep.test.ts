/** Tables of cells, `sweep` and `compare`: what a cell says against what `ppl` says with the same flags; interruption; the best cell. */
import { writeFileSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { type CellResult, bestOf } from "../cli/cell_table.ts";
import { type JsonLine, jsonLines, templora, withoutTimes } from "./support/cli.ts";
import { goldenFolder } from "./support/golden.ts";
import { temporaryFolder } from "./support/model_files.ts";

const test = suite("sweep");
const pathOf = (name: string): string => fileURLToPath(new URL(name, goldenFolder));
process.env["TEMPLORA_CACHE"] = temporaryFolder();
const book = pathOf("moby-dick-excerpt.txt");
const other = join(temporaryFolder(), "other.txt");
writeFileSync(other, readFileSync(book, "utf8").slice(300, 1200));

const common = ["--model", pathOf("tiny-tied"), "--device", "cpu", "--rank", "4", "--max-tokens", "200"];
const read = async (...args: string[]): Promise<JsonLine[]> => {
  const { code, stdout, stderr } = await templora([...args, ...common, "--json", "-"]);
  assert.is(code, 0, stderr);
  return jsonLines(stdout);
};
const ofType = (lines: readonly JsonLine[], type: string): JsonLine[] =>
  lines.filter((line) => line["type"] === type);

/** What `ppl` with these flags says of all texts, as a base cell and as an adapted one. */
async function ppl(...flags: string[]): Promise<{ base: object; lora: object }> {
  const summary = (await read("ppl", book, other, ...flags)).at(-1) ?? {};
  const flops = summary["flops"] as Record<string, number>;
  const { tokens } = summary;
  const of = (name: string, inference: unknown, update: unknown): object => ({
    ...{ tokens, ppl: summary[`${name}_ppl`], mean_chunk_ppl: summary[`${name}_mean_chunk_ppl`] },
    flops: { inference, update },
  });
  return { base: of("base", flops["base"], 0), lora: of("lora", flops["score"], flops["train"]) };
}
const told = ({ tokens, ppl, mean_chunk_ppl, flops }: JsonLine): object => ({
  tokens,
  ppl,
  mean_chunk_ppl,
  flops,
});

test("a sweep's cells say what ppl says with their flags; the frozen model is read once for each window", async () => {
  const lines = await read("sweep", book, other, "--chunk", "32", "--window", "16,64", "--lr", "1e-3,1e-2");
  assert.equal(lines[0]?.["grid"], { chunk: [32], window: [16, 64], rank: [4], lr: [1e-3, 1e-2] });
  const cells = ofType(lines, "cell").filter(({ text }) => text === null);
  const expected: object[] = [];
  for (const window of ["16", "64"]) {
    const flags = ["--chunk", "32", "--window", window];
    const [slow, fast] = [await ppl(...flags, "--lr", "1e-3"), await ppl(...flags, "--lr", "1e-2")];
    expected.push(slow.base, slow.lora, fast.lora);
  }
  assert.equal(cells.map(told), expected);
  assert.equal(cells.map(({ cell, window, templora }) => [cell, window, templora]), [
    ...[[0, 16, false], [1, 16, true], [2, 16, true]],
    ...[[3, 64, false], [4, 64, true], [5, 64, true]],
  ]); // prettier-ignore
  assert.equal([cells[0]?.["recipe"], (cells[2]?.["recipe"] as JsonLine)["lr"]], [null, 1e-2]);
  const best = cells.reduce((a, b) => (Number(a["ppl"]) <= Number(b["ppl"]) ? a : b));
  assert.is(lines.at(-1)?.["best"], best["cell"]);
  // of each text, too
  const one = ofType(lines, "cell").find(({ cell, text }) => cell === 2 && text === other);
  const alone = (await read("ppl", other, "--chunk", "32", "--window", "16", "--lr", "1e-2")).at(-1);
  assert.is(one?.["ppl"], alone?.["lora_ppl"]);
  assert.ok(ofType(lines, "chunk").every(({ cell }) => typeof cell === "number"));
});

test("compare reads with each method what ppl reads with its flag, and no more window than it has positions", async () => {
  const flags = ["--chunk", "64", "--window", "600", "--lr", "1e-2"];
  const named = ["yarn:2", "sliding:40", "self-extend:2,40"];
  const lines = await read("compare", book, other, ...flags, ...named.flatMap((name) => ["--method", name]));
  const cells = ofType(lines, "cell").filter(({ text }) => text === null);
  const most = 512 - 64; // positions of the model, less a chunk
  const expected: object[] = [];
  for (const [window, ...method] of [
    [most],
    [600, "--extend", "yarn:2"],
    [most, "--attention", "sliding:40"],
    [600, "--attention", "self-extend:2,40"],
  ]) {
    const { base, lora } = await ppl(
      "--chunk",
      "64",
      "--window",
      String(window),
      "--lr",
      "1e-2",
      ...method.map(String),
    );
    expected.push(base, lora);
  }
  assert.equal(cells.map(told), expected);
  assert.equal(cells.map(({ method, window }) => [method, window]), [
    ...[["full", most], ["full", most], ["yarn:2", 600], ["yarn:2", 600]],
    ...[["sliding:40", most], ["sliding:40", most], ["self-extend:2,40", 600], ["self-extend:2,40", 600]],
  ]); // prettier-ignore
  assert.equal(lines[0]?.["methods"], ["full", ...named]);
});

test("a sweep that is interrupted, then resumed, gives the lines of an uninterrupted one", async () => {
  const argv = [
    "sweep",
    book,
    other,
    ...common,
    "--chunk",
    "64",
    "--window",
    "16",
    "--lr",
    "1e-3,1e-2",
    "--json",
    "-",
  ];
  const whole = await templora(argv);
  for (const stopAt of [1, 6, 14]) {
    let chunks = 0;
    const interrupted = await templora(argv, {
      onOutput: (text, stop) => (text.includes('"chunk"') && ++chunks === stopAt ? stop() : undefined),
    });
    assert.is(interrupted.code, 130);
    const resumed = await templora([...argv, "--resume"]);
    assert.is(resumed.code, 0, resumed.stderr);
    assert.equal(jsonLines(resumed.stdout).map(withoutTimes), jsonLines(whole.stdout).map(withoutTimes));
  }
});

test("the best cell is the one of the lowest perplexity that the budget allows", () => {
  const none = { inference: 0, update: 0 };
  const cell = (index: number, ppl: number | null, inference: number, update: number): CellResult => ({
    ...{ cell: index, templora: true, tokens: 10, ppl, mean_chunk_ppl: ppl },
    ...{ flops: { inference, update }, bytes: none, seconds: none },
  });
  const cells = [cell(0, 20, 2e10, 0), cell(1, 10, 2e10, 2e10), cell(2, 15, 1e10, 2e10), cell(3, null, 0, 0)];
  assert.is(bestOf(cells), 1);
  assert.is(bestOf(cells, 4), 1, "4 GFLOP a token");
  assert.is(bestOf(cells, 3.9), 2);
  assert.is(bestOf(cells, 2.5), 0);
  assert.is(bestOf(cells, 1), null);
});

const refusals: readonly (readonly [flags: readonly string[], message: RegExp])[] = [
  [["sweep", book, "--lr", "1e-3,1e-3"], /--lr 1e-3,1e-3: a value stands there twice/],
  [["sweep", book, "--window", "16,x"], /--window x: expected/],
  [["sweep", book, "--no-baseline", "--no-templora"], /leave nothing to measure/],
  [["sweep", book, "--reuse-cache", "1"], /--reuse-cache 1: .*--context-grad off/],
  [["compare", book, "--method", "yarn:2", "--method", "yarn:2"], /--method yarn:2: it stands there twice/],
  [
    ["compare", book, "--method", "yarm:2"],
    /--method yarm: expected full, sliding, .*, llama3 \(did you mean yarn\?\)/,
  ],
];
for (const [[command = "", ...flags], message] of refusals)
  test(`refused: ${command} ${flags.slice(1).join(" ")}`, async () => {
    const { code, stderr } = await templora([command, ...flags, ...common]);
    assert.is(code, 2);
    assert.match(stderr, message);
    assert.is(stderr.trimEnd().split("\n").length, 1);
  });

test.run();
