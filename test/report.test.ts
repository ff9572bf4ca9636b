/** --report: the folder's files, what they say against the run's own JSON lines, and that nothing in a name becomes markup. */
import { existsSync, readFileSync, readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { parseHTML } from "linkedom";
import { plot } from "../cli/report/plot.ts";
import { figure } from "../cli/format.ts";
import { jsonLines, templora } from "./support/cli.ts";
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
  const { code, stdout, stderr } = await templora([...args, ...common, "--json", "-", "--report", into]);
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
    "on,off",
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
  const empty = await templora(["ppl", book, ...common, "--report", ""]);
  assert.match(empty.stderr, /--report: expected a folder's name/);
  const into = join(folder, "stopped");
  const stopped = await templora(["ppl", book, ...common, "--json", "-", "--report", into], {
    onOutput: (text, stop) => (text.includes('"chunk"') ? stop() : undefined),
  });
  assert.is(stopped.code, 130);
  assert.equal(existsSync(into) ? readdirSync(into) : [], []);
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
