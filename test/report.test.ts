/** --report: the folder's files, what they say against the run's own JSON lines, and that nothing in a name becomes markup. */
import { execFileSync } from "node:child_process";
import { existsSync, readFileSync, readdirSync, rmSync, rmdirSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { parseHTML } from "linkedom";
import { type CellLine, cellsReport } from "../cli/report/cells.ts";
import type { Report } from "../cli/report/markdown.ts";
import { type PlotOptions, plot } from "../cli/report/plot.ts";
import { type ChunkLine, type SummaryLine, readingReport } from "../cli/report/reading.ts";
import { figure } from "../cli/format.ts";
import { jsonLines, templora, sensible } from "./support/cli.ts";
import { goldenFolder } from "./support/golden.ts";
import { temporaryFolder } from "./support/model_files.ts";

const test = suite("report");
const pathOf = (name: string): string => fileURLToPath(new URL(name, goldenFolder));
process.env["TEMPLORA_CACHE"] = temporaryFolder();
const folder = temporaryFolder();
const book = pathOf("moby-dick-excerpt.txt");
const nasty = join(folder, "a <b>|*_b_*`.txt");
writeFileSync(nasty, readFileSync(book, "utf8").slice(300, 1200));
const common = [
  "--model",
  pathOf("tiny-tied"),
  "--device",
  "cpu",
  "--rank",
  "4",
  "--max-tokens",
  "200",
  "--chunk",
  "32",
];

/** Runs a command with a report; returns its lines and the report's files. */
async function report(name: string, ...args: string[]) {
  const into = join(folder, name, "new");
  const { code, stdout, stderr } = await templora(
    sensible([...args, ...common, "--json", "-", "--report", into]),
  );
  assert.is(code, 0, stderr);
  assert.match(stderr, /the report is in .*report\.html/);
  const files = Object.fromEntries(
    readdirSync(into).map((file) => [file, readFileSync(join(into, file), "utf8")]),
  );
  assert.is(files["records.jsonl"], stdout);
  const html = files["report.html"] ?? "";
  const { document } = parseHTML(html) as unknown as {
    document: { querySelectorAll(selector: string): ArrayLike<{ textContent: string }> };
  };
  const all = (selector: string): string[] =>
    Array.from(document.querySelectorAll(selector), ({ textContent }) => textContent);
  return { lines: jsonLines(stdout), files, html, all };
}

test("ppl: figures of every text and tables with the run's numbers, in Markdown and in one page", async () => {
  const { lines, files, html, all } = await report(
    "ppl",
    "ppl",
    book,
    nasty,
    "--window",
    "16",
    "--buckets",
    "64",
    "--lr",
    "1e-2",
  );
  const figures = ["perplexity", "gain", "loss", "rate", "cost"].flatMap((what) => [
    `1-${what}.svg`,
    `2-${what}.svg`,
  ]);
  assert.equal(
    Object.keys(files).sort(),
    [...figures, "gains.svg", "records.jsonl", "report.html", "report.md"].sort(),
  );
  const cells = all("td");
  for (const line of lines.filter(({ type }) => type === "summary"))
    for (const key of ["base_ppl", "lora_ppl", "base_mean_chunk_ppl", "lora_mean_chunk_ppl"])
      assert.ok(cells.includes(figure(Number(line[key]))), key);
  assert.equal(all("h2"), ["All texts", book, nasty]);
  assert.is(all("svg").length, 11);
  assert.equal(all("img, script, link, b"), [], "it needs no other file, and a name is no markup");
  const [command = ""] = all("pre");
  assert.ok(command.includes(`templora ppl ${book} '${nasty}'`), command);
  for (const [name, svg] of Object.entries(files).filter(([file]) => file.endsWith(".svg"))) {
    assert.match(svg, /^<svg xmlns="http:\/\/www\.w3\.org\/2000\/svg" role="img" aria-label="[^"]+"/, name);
    assert.match(svg, /prefers-color-scheme:dark/);
    assert.not.match(svg, /NaN|undefined/);
    assert.ok(files["report.md"]?.includes(`](${name})`), name);
  }
  assert.match(html, /<meta name="viewport"/);
});

test("sweep and compare: the table, cost, and each dial with numbers", async () => {
  const { lines, files, all } = await report(
    "sweep",
    "sweep",
    book,
    "--window",
    "16,32",
    "--lr",
    "1e-3,1e-2",
    "--context-grad",
    "on, off",
  );
  const svgs = Object.keys(files).filter((file) => file.endsWith(".svg"));
  assert.equal(svgs.sort(), ["cost.svg", "lr.svg", "window.svg"]);
  const rows = all("tr").slice(1);
  assert.is(rows.length, lines.filter(({ type, text }) => type === "cell" && text === null).length);
  const best = rows.filter((row) => row.includes("(best)"));
  assert.is(best.length, 1);
  const { cell } = { cell: Number(lines.at(-1)?.["best"]) };
  assert.is(
    rows.findIndex((row) => row.includes("(best)")),
    cell,
  );
  const compared = await report("compare", "compare", book, nasty, "--window", "64", "--method", "ntk:2");
  assert.equal(compared.all("h2"), ["All texts", book, nasty]);
  assert.ok(compared.all("td").includes("ntk:2"));
});

test("a text without scores, one of one model, and a learner without steps have reports, too", async () => {
  const base = await report("base", "ppl", book, "--no-templora");
  assert.equal(
    Object.keys(base.files)
      .filter((file) => file.endsWith(".svg"))
      .sort(),
    ["cost.svg", "perplexity.svg"],
  );
  const adapted = await report("adapted", "ppl", book, "--no-baseline", "--epochs", "0");
  assert.equal(
    Object.keys(adapted.files)
      .filter((file) => file.endsWith(".svg"))
      .sort(),
    ["cost.svg", "perplexity.svg"],
  );
});

test("where a report cannot be written in the end, the run is kept, and goes on to its report", async () => {
  const into = join(folder, "later");
  const argv = ["ppl", book, ...common, "--report", into, "--state", join(folder, "later.state")];
  const failed = await templora([...argv, "--json", "-"], {
    onOutput: (text) => {
      if (!text.includes('"chunk"') || !statSync(into).isDirectory()) return;
      rmdirSync(into);
      writeFileSync(into, "in the way");
    },
  });
  assert.is(failed.code, 1);
  assert.match(failed.stderr, /later: .*; the same command with --resume tries again\n$/);
  rmSync(into);
  const resumed = await templora([...argv, "--resume"]);
  assert.is(resumed.code, 0, resumed.stderr);
  assert.not.match(readFileSync(join(into, "report.md"), "utf8"), "--resume");
});

test("a folder that cannot be written is refused before the model is loaded; a stopped run leaves no report", async () => {
  const file = join(folder, "file");
  writeFileSync(file, "mine");
  const refused = await templora(["ppl", book, ...common, "--report", join(file, "x")]);
  assert.is(refused.code, 2);
  assert.match(refused.stderr, /^templora: .*file\/x.*\n$/);
  for (const [flags, message] of [
    [["--report", pathOf("tiny-tied")], /--report would change what --model reads/],
    [["--report", folder, "--json", join(folder, "records.jsonl")], /named by both --json and --report/],
  ] as const) {
    const { code, stderr } = await templora(["ppl", book, ...common, ...flags]);
    assert.is(code, 2, stderr);
    assert.match(stderr, message);
  }
  for (const [name, content] of [
    ...["report.md", "report.html", "records.jsonl"].map((file) => [file, "mine"] as const),
    ["report.md", "# My report\n"] as const,
  ]) {
    const own = temporaryFolder();
    writeFileSync(join(own, name), content);
    const { code, stderr } = await templora(["ppl", book, ...common, "--report", own]);
    assert.is(code, 2, stderr);
    assert.match(stderr, `${name}: not of a report, so it is left as it is`);
    assert.is(readFileSync(join(own, name), "utf8"), content);
  }
  const empty = await templora(["ppl", book, ...common, "--report", ""]);
  assert.match(empty.stderr, /--report: expected a folder's name/);
  const into = join(folder, "stopped");
  const stopped = await templora(["ppl", book, ...common, "--json", "-", "--report", into], {
    onOutput: (text, stop) => (text.includes('"chunk"') ? stop() : undefined),
  });
  assert.is(stopped.code, 130);
  assert.equal(existsSync(into) ? readdirSync(into) : [], []);
});

/** What a report would say: its tables, row by row, and what its figures are to show, by name. */
function caught(write: (report: Report) => void): { rows: string[][]; figures: Map<string, PlotOptions> } {
  const rows: string[][] = [];
  const figures = new Map<string, PlotOptions>();
  const report = {
    heading: () => undefined,
    add: (text: string) =>
      rows.push(...text.split("\n").map((row) => row.split("|").map((part) => part.trim()))),
    figure: (name: string, _: string, options: PlotOptions) => figures.set(name, options),
  };
  write(report as unknown as Report);
  return { rows, figures };
}
const pointsOf = (options: PlotOptions | undefined): unknown =>
  Object.fromEntries(options?.series.map(({ name, points }) => [name, points]) ?? []);

test("cells by hand: cost with the update, the best of each value in their order, changes from the model read alike", () => {
  const cost = (inference: number, update: number): CellLine["flops"] => ({ inference, update });
  const cell = (index: number, dials: object, ppl: number, lr?: number): CellLine => ({
    ...{
      type: "cell",
      text: null,
      cell: index,
      templora: lr !== undefined,
      tokens: 10,
      failed: false,
      ppl,
      mean_chunk_ppl: ppl,
    },
    ...{ flops: cost(2e10, lr === undefined ? 0 : 3e10), bytes: cost(1e7, 0), seconds: cost(0.02, 0) },
    ...{ chunk: 8, recipe: lr === undefined ? null : { lr, dropout: lr > 0.15 ? 0.1 : 0 }, ...dials },
  });
  const windows = [
    cell(0, { window: 64 }, 16),
    cell(1, { window: 64 }, 8, 0.1),
    cell(2, { window: 64 }, 12, 0.2),
  ];
  const swept = [...windows, cell(3, { window: 16 }, 20), cell(4, { window: 16 }, 14, 0.1)];
  const grid = { window: [64, 16], lr: [0.1, 0.2], dropout: [0, 0.1] };
  const { figures } = caught((report) => cellsReport(report, { grid }, swept, 1));
  assert.equal(pointsOf(figures.get("cost")), {
    base: [[2, 16], [2, 20]],
    "Temp-LoRA": [[5, 8], [5, 12], [5, 14]],
  }); // prettier-ignore
  assert.equal(pointsOf(figures.get("window")), { base: [[16, 20], [64, 16]], "Temp-LoRA": [[16, 14], [64, 8]] }); // prettier-ignore
  assert.equal(["window", "dropout"].map((name) => figures.get(name)?.xScale), ["log", "linear"]); // prettier-ignore
  const neighbours = swept.map((one) =>
    one.cell === 2 ? { ...one, recipe: { ...one.recipe, adapt: "full" } } : one,
  );
  const apart = caught((report) => cellsReport(report, { grid }, neighbours, 1));
  assert.equal(pointsOf(apart.figures.get("cost")), {
    base: [[2, 16], [2, 20]],
    "Temp-LoRA": [[5, 8], [5, 14]],
    "dynamic, full": [[5, 12]],
  }); // prettier-ignore
  const methods = [
    ...[cell(0, { window: 16, method: "full" }, 20), cell(1, { window: 16, method: "full" }, 10, 0.1)],
    ...[cell(2, { window: 16, method: "yarn:2" }, 16), cell(3, { window: 16, method: "yarn:2" }, 12, 0.1)],
  ];
  const { rows } = caught((report) => cellsReport(report, { methods: ["full", "yarn:2"] }, methods, 1));
  assert.equal(rows.slice(4, 8).map((row) => row[5]), ["", "-50.00 %", "", "-25.00 %"]); // prettier-ignore
  const costs = ["2.0000", "3.0000", "1.0000", "0", "2.0000", "0"];
  assert.equal(rows[5], ["", "Temp-LoRA (best)", "full", "16", "10.000", "-50.00 %", ...costs, ""]);
});

test("chunks by hand: perplexities, gains, losses and seconds at the place of each chunk", () => {
  const spent = { base: 1e10, score: 2e10, train: 3e10 };
  const chunk = (start: number, base: number | null, lora: number, seconds: number): ChunkLine => ({
    ...{
      type: "chunk",
      text: "a",
      index: start / 10,
      start,
      tokens: 10,
      context: 0,
      base_nll: base,
      lora_nll: lora,
    },
    ...{ train_loss: [3, 2, 1], lr: start / 100, skipped_steps: 0, flops: spent, bytes: spent },
    seconds: { base: seconds, score: 2 * seconds, train: 3 * seconds },
  });
  const chunks = [chunk(0, 20, 10, 1), chunk(10, 30, 10, 2)];
  const { figures } = caught((report) => readingReport(report, chunks, []));
  const [e1, e2, e3] = [1, 2, 3].map(Math.exp) as [number, number, number];
  assert.equal(pointsOf(figures.get("perplexity")), { base: [[0, e2], [10, e3]], adapted: [[0, e1], [10, e1]] }); // prettier-ignore
  assert.equal(pointsOf(figures.get("gain")), { adapted: [[0, 100 * (1 - e1 / e2)], [10, 100 * (1 - e1 / e3)]] }); // prettier-ignore
  assert.equal(pointsOf(figures.get("loss")), { "before the first step": [[0, 3], [10, 3]], "before the last step": [[0, 1], [10, 1]] }); // prettier-ignore
  assert.equal(pointsOf(figures.get("cost")), { base: [[0, 1], [10, 2]], adapted: [[0, 2], [10, 4]], update: [[0, 3], [10, 6]] }); // prettier-ignore
  // more chunks than a line has values: means of two, at the second's place, and the single ones behind them
  const many = Array.from({ length: 34 }, (_, i) => chunk(10 * i, i % 2 === 0 ? 10 : 30, 10, 1));
  const [faint, line] =
    caught((report) => readingReport(report, many, [])).figures.get("perplexity")?.series ?? [];
  assert.equal(
    [faint?.faint, faint?.points.length, line?.points.length, line?.points[1]],
    [true, 34, 17, [30, e2]],
  );
  const none = caught((report) => readingReport(report, [chunk(0, null, 10, 1)], [])).figures;
  assert.equal(pointsOf(none.get("perplexity")), { base: [], adapted: [[0, e1]] });
  const all = { base: 20, score: 30, train: 40 };
  const summary: SummaryLine = {
    ...{ type: "summary", text: "a", tokens: 10, base_ppl: 20, lora_ppl: 10, reduction_percent: 50 },
    ...{
      base_mean_chunk_ppl: 21,
      lora_mean_chunk_ppl: 11,
      flops: spent,
      bytes: { base: 1e7, score: 2e7, train: 3e7 },
      seconds: all,
    },
  };
  const { rows } = caught((report) => readingReport(report, chunks, [summary]));
  assert.equal(rows[2], ["", "a", "10", "20.000", "10.000", "-50.00 %", "21.000", "11.000", ""]);
  const said = rows.flat().join("\n");
  assert.match(said, "arithmetic a token: base 1.0000, adapted 2.0000, update 3.0000 GFLOP");
  assert.match(said, "memory traffic a token: base 1.0000, adapted 2.0000, update 3.0000 MB");
  assert.match(said, "time a token: base 2000.0, adapted 3000.0, update 4000.0 ms");
});

test("the command that is shown is the one that was given, however its words are written", async () => {
  if (process.platform === "win32") return;
  const odd = join(folder, `it's $HOME "quoted" \\ a.txt`);
  writeFileSync(odd, readFileSync(book, "utf8").slice(300, 900));
  const { all } = await report("odd", "ppl", odd, "--no-templora");
  const [command = ""] = all("pre");
  const words = execFileSync("sh", ["-c", `printf '%s\\n' ${command.trim()}`], { encoding: "utf8" });
  const into = join(folder, "odd", "new");
  const given = sensible(["ppl", odd, "--no-templora", ...common, "--json", "-", "--report", into]);
  assert.equal(words.trimEnd().split("\n"), ["templora", ...given]);
});

test("few points are drawn as circles, many as a line alone, and scattered ones as circles in any case", () => {
  const circles = (count: number, scattered: boolean): number => {
    const points = Array.from({ length: count }, (_, i) => [i, i * i] as const);
    const svg = plot("l", { x: "x", y: "y", scattered, series: [{ name: "n", colour: "#123456", points }] });
    return [...svg.matchAll(/<circle /g)].length;
  };
  assert.equal([1, 23, 24, 50].map((count) => circles(count, false)), [1, 23, 0, 0]); // prettier-ignore
  assert.equal([23, 50].map((count) => circles(count, true)), [23, 50]); // prettier-ignore
});

test("a plot draws what it is given, in the colours given, with its names", () => {
  const svg = plot('a "label" <of> it', {
    ...{ x: "across", y: "up", zero: true },
    series: [
      { name: "one", colour: "#123456", points: [[0, 1], [10, 3]] },
      { name: "pale", colour: "#654321", points: [[0, 2], [10, 2]], faint: true },
    ],
  }); // prettier-ignore
  assert.match(svg, /aria-label="a &quot;label&quot; &lt;of&gt; it"/);
  assert.match(svg, /● one/);
  assert.not.match(svg, /● pale/);
  const drawn = [...svg.matchAll(/ d="M([\d.]+),([\d.]+)L([\d.]+),([\d.]+)"/g)].map((found) =>
    found.slice(1).map(Number),
  );
  const [x0 = 0, y0 = 0, x1 = 0, y1 = 0] = drawn.find(([a, , b]) => Number(b) > Number(a)) ?? [];
  assert.ok(x1 > x0 && y1 < y0, "to the right and up");
});

test.run();
