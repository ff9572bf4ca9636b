/** Tables of cells, `sweep` and `compare`: what a cell says against what `ppl` says with the same flags; interruption; the best cell. */
import { cpSync, existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { type Cell, type CellResult, bestOf, cellTable } from "../cli/cell_table.ts";
import { recipes } from "../templora/config.ts";
import { changedModel } from "./support/changed_model.ts";
import { type JsonLine, jsonLines, templora, withoutTimes, sensible } from "./support/cli.ts";
import { goldenFolder } from "./support/golden.ts";
import { temporaryFolder } from "./support/model_files.ts";

const test = suite("sweep");
const pathOf = (name: string): string => fileURLToPath(new URL(name, goldenFolder));
process.env["TEMPLORA_CACHE"] = temporaryFolder();
const book = pathOf("moby-dick-excerpt.txt");
const folder = temporaryFolder();
const other = join(folder, "other.txt");
writeFileSync(other, readFileSync(book, "utf8").slice(300, 1200));

const common = ["--model", pathOf("tiny-tied"), "--device", "cpu", "--rank", "4", "--max-tokens", "200"];
const read = async (...args: string[]): Promise<JsonLine[]> => {
  const { code, stdout, stderr } = await templora(sensible([...args, ...common, "--json", "-"]));
  assert.is(code, 0, stderr);
  return jsonLines(stdout);
};
const ofType = (lines: readonly JsonLine[], type: string): JsonLine[] =>
  lines.filter((line) => line["type"] === type);

/** What `ppl` with these flags says of all texts, as a base cell and as an adapted one. */
async function ppl(...flags: string[]): Promise<{ base: object; lora: object }> {
  const summary = (await read("ppl", book, other, ...flags)).at(-1) ?? {};
  const { base = NaN, score = NaN, train = NaN } = summary["flops"] as Record<string, number>;
  const { tokens } = summary;
  const of = (name: string, inference: unknown, update: unknown): object => ({
    ...{ tokens, ppl: summary[`${name}_ppl`], mean_chunk_ppl: summary[`${name}_mean_chunk_ppl`] },
    flops: { inference, update },
  });
  const inference = "undone_updates" in summary ? base + score : score; // a guard needs the frozen model
  return { base: of("base", base, 0), lora: of("lora", inference, train) };
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
      ...["--reuse-cache", "0"], // far keys cannot serve again, so no method's do
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

test("compare takes no more of --train-window than there are positions, and all that LongRoPE's other divisors reach", async () => {
  const small = ["--chunk", "64", "--window", "16", "--lr", "1e-2"];
  const full = ["--method", "full", "--no-baseline"]; // it is there in any case
  const lines = await read("compare", book, other, ...small, "--train-window", "600", ...full);
  const all = ofType(lines, "cell").filter(({ text }) => text === null);
  const { lora } = await ppl(...small, "--train-window", String(512 - 64));
  assert.equal(all.map(told), [lora]);
  const longer = join(folder, "phi3"); // 64 positions, 256 with the others
  cpSync(pathOf("families/phi3"), longer, { recursive: true });
  const config = JSON.parse(readFileSync(join(longer, "config.json"), "utf8")) as object;
  writeFileSync(join(longer, "config.json"), JSON.stringify({ ...config, sliding_window: null }));
  for (const [window, taken] of [
    [100, 100],
    [600, 256 - 32],
  ]) {
    const { code, stdout, stderr } = await templora(
      sensible([
        ...["compare", other, ...common, "--model", longer, "--chunk", "32", "--window", String(window)],
        ...["--no-templora", "--json", "-"],
      ]),
    );
    assert.is(code, 0, stderr);
    assert.equal(ofType(jsonLines(stdout), "cell").map((cell) => cell["window"]), [taken, taken]); // prettier-ignore
  }
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

test("a cell in which numbers cease to be finite is marked, and the others are those of a sweep without it", async () => {
  const flags = ["--chunk", "32", "--window", "16"];
  const lines = await read("sweep", other, book, ...flags, "--lr", "1e-3,1e3,1e-2");
  const without = await read("sweep", other, book, ...flags, "--lr", "1e-3,1e-2");
  const cells = ofType(lines, "cell").filter(({ text }) => text === null);
  assert.equal(cells.map(({ failed }) => failed), [false, false, true, false]); // prettier-ignore
  const [bad] = cells.splice(2, 1);
  assert.equal([bad?.["ppl"], bad?.["mean_chunk_ppl"]], [null, null]);
  assert.equal(cells.map(told), ofType(without, "cell").filter(({ text }) => text === null).map(told)); // prettier-ignore
  const errors = ofType(lines, "error");
  assert.equal(errors.map(({ cell, text }) => [cell, text]), [[2, other], [2, book]]); // prettier-ignore
  for (const { message } of errors)
    assert.match(String(message), /^the loss is not finite: .* lower lr or clip$/);
  const { code, stdout, stderr } = await templora(["sweep", book, ...common, ...flags, "--lr", "1e3"]);
  assert.is(code, 0, stderr);
  assert.match(stdout, /Temp-LoRA +- .* not finite\n/);
  const all = await templora(["sweep", book, ...common, ...flags, "--lr", "1e3", "--no-baseline"]);
  assert.is(all.code, 1);
  assert.match(all.stderr, /templora: the loss is not finite/);
});

/** Flags with which a sweep of a few cells is quick. */
const few = ["sweep", book, ...common, "--chunk", "64", "--window", "16,32", "--context-grad", "off"];

test("the state of a sweep is that of its flags, and is gone when it is complete", async () => {
  const state = ["--state", join(temporaryFolder(), "sweep.state")];
  const stopped = await templora([...few, ...state, "--json", "-"], {
    onOutput: (text, stop) => (text.includes('"chunk"') ? stop() : undefined),
  });
  assert.is(stopped.code, 130);
  for (const flags of [
    ["--seed", "7"],
    ["--reuse-cache", "1"],
    ["--knn", "0.2"],
    ["--attention", "sliding:9"],
    ["--lr", "1e-2"],
    ["--window", "16"],
  ]) {
    const { code, stderr } = await templora([...few, ...flags, ...state, "--resume"]);
    assert.match(stderr, /sweep\.state: the state of another run/, flags.join(" "));
    assert.is(code, 2);
  }
  const text = join(folder, "another.txt");
  writeFileSync(text, readFileSync(book, "utf8").replace("Ishmael", "Ahab"));
  const { stderr } = await templora([...few, ...state, "--resume"].with(1, text));
  assert.match(stderr, /sweep\.state: the state of another run/);
  assert.is((await templora([...few, ...state, "--resume"])).code, 0);
  assert.not.ok(existsSync(state[1] ?? ""));
});

test("a sweep that is resumed under another build says so in its record", async () => {
  const argv = [...few, "--state", join(folder, "build.state"), "--json", "-"];
  process.env["TEMPLORA_CPU_BUILD"] = "plain";
  try {
    const stopped = await templora(argv, {
      onOutput: (text, stop) => (text.includes('"chunk"') ? stop() : undefined),
    });
    assert.is(stopped.code, 130);
    assert.not.ok("resumed_under" in (jsonLines(stopped.stdout)[0] ?? {}));
    process.env["TEMPLORA_CPU_BUILD"] = "relaxed";
    const { code, stdout, stderr } = await templora([...argv, "--resume"]);
    assert.is(code, 0, stderr);
    const [config] = jsonLines(stdout);
    assert.equal(
      ["resumed_under", "begun_under"].map((key) => (config?.[key] as { build?: string } | undefined)?.build),
      ["relaxed", "plain"],
    );
  } finally {
    delete process.env["TEMPLORA_CPU_BUILD"];
  }
});

test("optimiser steps that were skipped are told, chunk by chunk", async () => {
  const model = join(folder, "steep");
  changedModel(pathOf("tiny-tied"), model, "model.norm.weight", (values) =>
    values.forEach((x, i) => (values[i] = 1e34 * x)),
  ); // losses of 1e34 are finite, the squares of their gradients are not
  const { code, stdout, stderr } = await templora([
    ...["sweep", other, ...common, "--model", model, "--chunk", "100", "--window", "0", "--epochs", "2"],
    ...["--no-baseline", "--json", "-"],
  ]);
  assert.is(code, 0, stderr);
  const notes = stderr.split("\n").filter((line) => line.includes("skipped"));
  assert.equal(notes, [0, 1].map((index) => `templora: chunk ${index}: 2 optimiser step(s) skipped, their gradients were not finite`)); // prettier-ignore
  assert.equal(ofType(jsonLines(stdout), "chunk").map(({ skipped_steps }) => skipped_steps), [2, 2]); // prettier-ignore
});

const short = join(folder, "short.txt");
writeFileSync(short, readFileSync(book, "utf8").slice(0, 260));
const learning = [
  "--recipe",
  "tuned",
  "--reuse-cache",
  "0",
  "--chunk",
  "32",
  "--window",
  "48",
  "--lr",
  "1e-2",
  "--warmup",
  "0",
];
const writing = ["compare", short, ...learning, "--method", "yarn:2", "--generate", "70"];

test("compare --generate: each writes on where the text ends, as generate does that has read it", async () => {
  const written = ofType(await read(...writing), "generated").map(({ generated }) => generated);
  const alone = async (...flags: string[]): Promise<unknown> => {
    const model = [
      "--model",
      pathOf("tiny-tied"),
      "--device",
      "cpu",
      "--rank",
      "4",
      "--repetition-penalty",
      "1.12",
    ];
    const argv = [
      "generate",
      "--read",
      short,
      ...learning,
      ...model,
      "--tokens",
      "70",
      "--json",
      "-",
      ...flags,
    ];
    const { code, stdout, stderr } = await templora(sensible(argv));
    assert.is(code, 0, stderr);
    return jsonLines(stdout).at(-1)?.["generated"];
  };
  assert.equal(written, [
    await alone("--no-templora"),
    await alone(),
    await alone("--no-templora", "--extend", "yarn:2"),
    await alone("--extend", "yarn:2"),
  ]);
  assert.is(new Set(written).size > 1, true);
});

test("compare --generate, stopped behind a text and behind what was written, goes on as if it had not been", async () => {
  const whole = await read(...writing);
  const last = ofType(whole, "chunk").findLast(({ cell }) => cell === 1)?.["index"];
  for (const behind of [`"index":${String(last)},`, '"type":"generated","cell":1']) {
    const state = ["--state", join(temporaryFolder(), "compare.state")];
    const argv = [...writing, ...common, ...state, "--json", "-"];
    let [seen, done] = ["", false];
    const stopped = await templora(argv, {
      onOutput: (text, stop) => {
        seen += text;
        const cell = seen.lastIndexOf('"type":"cell"');
        if (done || !seen.slice(behind.includes("generated") ? 0 : cell).includes(behind)) return;
        if (cell < 0) return; // of the second cell
        done = true;
        stop();
      },
    });
    assert.is(stopped.code, 130, stopped.stderr);
    const resumed = await templora([...argv, "--resume"]);
    assert.is(resumed.code, 0, resumed.stderr);
    const lines = jsonLines(resumed.stdout);
    assert.equal(ofType(lines, "generated"), ofType(whole, "generated"), behind);
    assert.equal(ofType(lines, "chunk").map(withoutTimes), ofType(whole, "chunk").map(withoutTimes), behind);
  }
});

test("the state of a comparison is that of its methods", async () => {
  const argv = ["compare", book, ...common, "--chunk", "64", "--window", "16"];
  const state = ["--state", join(temporaryFolder(), "compare.state")];
  const stopped = await templora([...argv, "--method", "yarn:2", ...state, "--json", "-"], {
    onOutput: (text, stop) => (text.includes('"chunk"') ? stop() : undefined),
  });
  assert.is(stopped.code, 130);
  const { code, stderr } = await templora([...argv, "--method", "linear:2", ...state, "--resume"]);
  assert.match(stderr, /compare\.state: the state of another run/);
  assert.is(code, 2);
});

test("--seed and --budget count in a sweep: the adapter of that seed, the best of the cells that cost no more", async () => {
  const seven = ["--chunk", "64", "--window", "16", "--lr", "1e-2", "--seed", "7"];
  const { lora } = await ppl(...seven);
  const cells = (lines: readonly JsonLine[]): JsonLine[] =>
    ofType(lines, "cell").filter(({ text }) => text === null);
  assert.equal(told(cells(await read("sweep", book, other, ...seven))[1] ?? {}), lora);
  const costOf = ({ flops, tokens }: JsonLine): number => {
    const { inference = NaN, update = NaN } = flops as Record<string, number>;
    return (inference + update) / Number(tokens) / 1e9;
  };
  const dear = cells(await read(...few, "--lr", "1e-2"));
  const costs = dear.map(costOf).sort((a, b) => a - b);
  for (const budget of [costs[0], costs[1], costs.at(-1)].map((cost = NaN) => 1.0001 * cost)) {
    const affordable = dear.filter((cell) => costOf(cell) <= budget);
    const best = affordable.reduce((a, b) => (Number(a["ppl"]) <= Number(b["ppl"]) ? a : b));
    const summary = (await read(...few, "--lr", "1e-2", "--budget", String(budget))).at(-1);
    assert.equal([summary?.["best"], summary?.["budget_gflop"]], [best["cell"], budget]);
  }
});

test("--checkpoint-layers counts in a sweep: the same figures, with layers' work done again; --reuse-cache is in its record", async () => {
  const one = ["sweep", other, "--chunk", "64", "--window", "16", "--no-baseline"];
  const [kept, again] = [await read(...one), await read(...one, "--checkpoint-layers", "3")].map(
    (lines) => ofType(lines, "cell").at(-1) ?? {},
  );
  const update = (cell: JsonLine | undefined): number => (cell?.["flops"] as { update: number }).update;
  assert.is(again?.["ppl"], kept?.["ppl"]);
  assert.ok(update(again) > 1.1 * update(kept));
  const reused = await read(...one, "--context-grad", "off", "--reuse-cache", "1");
  assert.is(ofType(reused, "cell").at(-1)?.["reuse_cache"], 1);
});

test("however many methods there are, one model is on the device at a time", async () => {
  const argv = ["compare", other, "--chunk", "32", "--window", "16", "--no-templora"];
  const peak = async (...methods: string[]): Promise<number> => {
    const lines = await read(...argv, ...methods.flatMap((name) => ["--method", name]));
    return (lines.at(-1)?.["peak_bytes"] as { device: number }).device;
  };
  const [one, several] = [await peak(), await peak("ntk:2", "yarn:2", "linear:2")];
  assert.ok(several < 1.1 * one, `${several} bytes, and with one ${one}`);
});

test("a sweep changes nothing that it reads, and no two of its outputs are one file", async () => {
  const model = join(temporaryFolder(), "model");
  cpSync(pathOf("tiny-tied"), model, { recursive: true });
  const report = temporaryFolder();
  for (const [flags, says] of [
    [["--json", join(model, "config.json")], /--json would change what --model reads/],
    [["--json", other], /--json would change what text 2 reads/],
    [["--report", report, "--json", join(report, "records.jsonl")], /named by both --json and --report/],
    [["--state", join(report, "x"), "--json", join(report, "x")], /named by both --json and --state/],
  ] as const) {
    const { code, stderr } = await templora(["sweep", book, other, ...common, "--model", model, ...flags]);
    assert.match(stderr, says);
    assert.is(code, 2);
  }
});

test("the best cell is the one of the lowest perplexity that the budget allows", () => {
  const none = { inference: 0, update: 0 };
  const cell = (index: number, ppl: number | null, inference: number, update: number): CellResult => ({
    ...{ cell: index, templora: true, tokens: 10, failed: false, ppl, mean_chunk_ppl: ppl && 30 - ppl },
    ...{ flops: { inference, update }, bytes: none, seconds: none },
  });
  const cells = [cell(0, 20, 2e10, 0), cell(1, 10, 2e10, 2e10), cell(2, 15, 1e10, 2e10), cell(3, null, 0, 0)];
  assert.is(bestOf(cells), 1);
  assert.is(bestOf(cells, 4), 1, "4 GFLOP a token");
  assert.is(bestOf(cells, 3.9), 2);
  assert.is(bestOf(cells, 2.5), 0);
  assert.is(bestOf(cells, 1), null);
});

test("the table: a cell's change is from the frozen model that reads as it does, its costs are a token's", () => {
  const cell = (window: number, lr: number | null): Cell => ({
    reading: { window: String(window) },
    learning: lr === null ? {} : { lr: String(lr) },
    facts: {},
    modelFiles: { config: {} } as Cell["modelFiles"],
    windows: { chunk: 8, window, trainWindow: window, reuseCache: 0 },
    memory: { knn: 0, knnTokens: 0 },
    recipe: lr === null ? null : recipes.paper,
  });
  const result = (index: number, templora: boolean, ppl: number): CellResult => ({
    ...{ cell: index, templora, tokens: 10, failed: false, ppl, mean_chunk_ppl: 2 * ppl },
    flops: { inference: 2e10, update: templora ? 3e10 : 0 },
    bytes: { inference: 1, update: 1 },
    seconds: { inference: 0.05, update: templora ? 0.08 : 0 },
  });
  const cells = [cell(16, null), cell(16, 0.1), cell(64, null), cell(64, 0.1)];
  const results = [result(0, false, 20), result(1, true, 10), result(2, false, 16), result(3, true, 12)];
  const rows = cellTable(cells, results, 1).split("\n").map((row) => row.trim().split(/ {2,}/)); // prettier-ignore
  const costs = ["2.0000", "3.0000", "5.0000", "8.0000"];
  const frozen = ["2.0000", "0", "5.0000", "0"];
  assert.equal(rows.slice(1, 5), [
    ["base", "16", "-", "20.000", "40.000", ...frozen],
    ["Temp-LoRA", "16", "0.1", "10.000", "-50.00 %", "20.000", ...costs, "best"],
    ["base", "64", "-", "16.000", "32.000", ...frozen],
    ["Temp-LoRA", "64", "0.1", "12.000", "-25.00 %", "24.000", ...costs],
  ]);
});

test("the table: frozen models that keep keys for a different time are different baselines", async () => {
  const one = ["sweep", other, "--chunk", "64", "--window", "128", "--lr", "0"];
  const kept = (k: string): string[] => [...one, "--reuse-cache", k];
  const ppl = async (argv: string[]): Promise<unknown[]> =>
    ofType(await read(...argv), "cell")
      .filter(({ text }) => text === null)
      .map((cell) => cell["ppl"]);
  const both = await ppl([...one, "--context-grad", "on,off"]);
  const [[anew, learntAnew], [through, learntThrough]] = [await ppl(kept("0")), await ppl(kept("5"))];
  assert.equal([both[0], both[2]], [anew, through], "a table has both");
  assert.ok(anew !== through);
  // an adapter that learns nothing is read as the frozen model beside it
  for (const [a, b] of [
    [anew, learntAnew],
    [through, learntThrough],
  ])
    assert.ok(Math.abs(Number(a) / Number(b) - 1) < 1e-5);
});

test("--learn-below is a dial", async () => {
  const one = ["--chunk", "64", "--window", "16", "--lr", "1e-2"];
  const lines = await read("sweep", book, other, ...one, "--learn-below", "0.5,0.01", "--no-baseline");
  const swept = ofType(lines, "cell").filter(({ text }) => text === null);
  const each = [await ppl(...one, "--learn-below", "0.5"), await ppl(...one, "--learn-below", "0.01")];
  assert.equal(
    swept.map(told),
    each.map(({ lora }) => lora),
  );
  assert.not.equal(each[0]?.lora, each[1]?.lora);
});

test("--adapt is a dial; what only a LoRA has is none beside its neighbours", async () => {
  const one = ["--chunk", "64", "--window", "16", "--lr", "2e-3"];
  const lines = await read("sweep", book, other, ...one, "--adapt", "lora,full,norms", "--no-baseline");
  const swept = ofType(lines, "cell").filter(({ text }) => text === null);
  const each: object[] = [];
  for (const adapt of [[], ["--adapt", "full"], ["--adapt", "norms"]])
    each.push((await ppl(...one, ...adapt)).lora);
  assert.equal(swept.map(told), each);
  const table = await templora(
    sensible(["sweep", book, ...one, ...common, "--adapt", "norms", "--no-baseline"]),
  );
  assert.match(table.stdout, /^dynamic, norms /m);
  assert.is(new Set(swept.map((cell) => cell["ppl"])).size, 3);
});

test("what else is learnt, and from where, are dials", async () => {
  const one = ["--chunk", "64", "--window", "16", "--lr", "1e-2", "--ema", "0.5", "--replay", "20"];
  const lines = await read(
    "sweep",
    book,
    other,
    ...one,
    "--kl",
    "0,0.5",
    "--init",
    "weight",
    "--no-baseline",
  );
  const swept = ofType(lines, "cell").filter(({ text }) => text === null);
  const each = [await ppl(...one, "--init", "weight"), await ppl(...one, "--kl", "0.5", "--init", "weight")];
  assert.equal(
    swept.map(told),
    each.map(({ lora }) => lora),
  );
  assert.not.equal(each[0]?.lora, each[1]?.lora);
});

test("--guard is a dial, whose cells say what ppl says, the frozen model's passes among their cost", async () => {
  const one = ["--chunk", "32", "--window", "16", "--lr", "0.2", "--warmup", "0"];
  const lines = await read("sweep", book, other, ...one, "--guard", "0,0.5");
  const cells = ofType(lines, "cell").filter(({ text }) => text === null);
  const [without, guarded] = [await ppl(...one), await ppl(...one, "--guard", "0.5")];
  assert.equal(cells.slice(0, 2).map(told), [without.base, without.lora]);
  assert.equal(told(cells[2] ?? {}), guarded.lora);
  const summary = (await read("ppl", book, other, ...one, "--guard", "0.5")).at(-1);
  assert.ok(Number(summary?.["undone_updates"]) > 0);
  assert.equal(
    cells.map(({ undone_updates }) => undone_updates),
    [undefined, undefined, summary?.["undone_updates"]],
  );
  const compared = await read("compare", book, other, ...one, "--guard", "0.5", "--method", "sliding:20");
  const [, full, , sliding] = ofType(compared, "cell").filter(({ text }) => text === null);
  assert.equal(told(full ?? {}), guarded.lora);
  assert.type(sliding?.["undone_updates"], "number");
});

const refusals: readonly (readonly [flags: readonly string[], message: RegExp])[] = [
  [["sweep", book, "--lr", "1e-3,1e-3"], /--lr 1e-3,1e-3: a value stands there twice/],
  [["sweep", book, "--window", "16,x"], /--window x: expected/],
  [["sweep", book, "--no-baseline", "--no-templora"], /leave nothing to measure/],
  [["sweep", book, "--no-baseline", "--guard", "0,5"], /--guard 5: .*no baseline/],
  [["compare", book, "--generate", "4", "--guard", "5"], /--guard 5: .*a text that the model writes/],
  [["sweep", book, "--no-templora", "--context-grad", "on,off"], /--context-grad: nothing reads its values/],
  [
    ["sweep", book, "--optimizer", "adamw,sgd", "--beta2", "0.9,0.99"],
    /--beta2: nothing reads its values under --optimizer sgd/,
  ],
  [
    ["sweep", book, "--optimizer", "sgd,muon", "--beta2", "0.9"],
    /--beta2: nothing reads its values under --opt/,
  ],
  [["compare", book, "--knn-tokens", "9"], /--knn-tokens: nothing reads it without --method knn:SHARE/],
  [["sweep", book, "--knn-tokens", "9", "--knn", "0"], /--knn-tokens: nothing reads it without --knn/],
  [["sweep", book, "--adapt", "lora,all"], /--adapt all: expected lora, full, norms/],
  [
    ["sweep", book, "--adapt", "lora,full", "--alpha", "1,2"],
    /--alpha: nothing reads its values under --adapt full/,
  ],
  [
    ["sweep", book, "--adapt", "full", "--init", "peft,weight"],
    /--init: nothing reads its values under --adapt full/,
  ],
  [["sweep", book, "--context-loss", "on,off"], /--context-loss: where --context-grad is off/],
  [["sweep", book, "--recipe", "paper", "--reuse-cache", "1"], /--reuse-cache 1: .*--context-grad off/],
  [["compare", book, "--method", "yarn:2", "--method", "yarn:2"], /--method yarn:2: it stands there twice/],
  [
    ["compare", book, "--method", "yarn:2", "--method", "yarn:2.0"],
    /--method yarn:2.0: it stands there twice/,
  ],
  [
    ["compare", book, "--method", "yarm:2"],
    /--method yarm: expected full, sliding, .*, llama3, longrope, knn \(did you mean yarn\?\)/,
  ],
];
for (const [[command = "", ...flags], message] of refusals)
  test(`refused: ${command} ${flags.slice(1).join(" ")}`, async () => {
    const { code, stderr } = await templora(sensible([command, ...flags, ...common]));
    assert.is(code, 2);
    assert.match(stderr, message);
    assert.is(stderr.trimEnd().split("\n").length, 1);
  });

test.run();
