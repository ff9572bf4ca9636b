/**
 * `templora translate TEXT` as its callers see it: a translation of the text's shape, held to that of pairs whose references are the
 * translations themselves (translate.test.ts has pairs against transformers and peft); glossaries, runs that are cut, one clear line where
 * it is refused.
 */
import { existsSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { at } from "../kernels/base/at.ts";
import {
  type CallOptions,
  type JsonLine,
  type Outcome,
  binary,
  jsonLines,
  templora,
  withoutTimes,
} from "./support/cli.ts";
import { temporaryFolder } from "./support/model_files.ts";

const test = suite("translate, a text");
const folder = temporaryFolder();
const inFolder = (name: string, content?: string | Uint8Array): string => {
  const path = join(folder, name);
  if (content !== undefined) writeFileSync(path, content);
  return path;
};
process.env["TEMPLORA_CACHE"] = inFolder("cache");
const quick =
  "--model test/golden/tiny-tied --device cpu --threads 1 --rank 4 --lr 0.02 --warmup 1 --dropout 0.1 --max-new-tokens 60".split(
    " ",
  );
const sentences = [
  "鲸来了。",
  "叫我以实玛利。",
  "船走了，1851年。",
  "海很大。",
  "他说：「好」。",
  "风起了。",
  "夜深。",
  "船长醒着。",
];
const book = inFolder("book.txt", `${sentences.join("\n\n")}\n`);
const blocks = ["--chunk", "40", "--window", "200"];

const translate = (path: string, ...flags: string[]): string[] => ["translate", path, ...quick, ...flags];

async function run(argv: readonly string[], options?: CallOptions): Promise<Outcome & { lines: JsonLine[] }> {
  const json = inFolder("run.jsonl");
  const outcome = await templora([...argv, "--json", json], options);
  assert.is(outcome.code, 0, outcome.stderr);
  return { ...outcome, lines: jsonLines(readFileSync(json, "utf8")) };
}
const of = (lines: readonly JsonLine[], type: string): JsonLine[] =>
  lines.filter((line) => line["type"] === type);
const said = (lines: readonly JsonLine[]): string[] =>
  of(lines, "paragraph").map((line) => line["translation"] as string);

test("translations are those of pairs whose references are its translations", async () => {
  const none = ["--train-on", "none", "--max-new-tokens", "36"];
  const few = ["海很大。", "风起了。", "鲸来了。", "夜深了。"];
  const path = inFolder("few.txt", few.join("\n"));
  const { lines } = await run(translate(path, ...none, "--chunk", "26", "--window", "400"));
  const paragraphs = of(lines, "paragraph");
  assert.equal(paragraphs.map((line) => line["source"]), few); // prettier-ignore
  assert.equal(paragraphs.map((line) => line["block"]), [0, 0, 1, 1]); // prettier-ignore
  const pairs = paragraphs.map((line) => ({ zh: line["source"], en: line["translation"] }));
  assert.ok(pairs.every(({ en }) => en !== ""));
  const [first, second] = [pairs.slice(0, 2), pairs.slice(2)];
  const entries = [
    { contexts: { k1: [] }, inference: first },
    { contexts: { k1: first }, inference: second },
  ];
  const asPairs = inFolder("said.json", JSON.stringify(entries));
  const { lines: held } = await run(translate(asPairs, ...none, "--no-baseline"));
  assert.equal(of(held, "line").map((line) => line["lora_translation"]), said(lines)); // prettier-ignore
  assert.equal(of(held, "line").map((line) => line["context"]), paragraphs.map((line) => line["context"])); // prettier-ignore
});

test("it learns from what it wrote, after each block but the last", async () => {
  const learnt = await run(translate(book, ...blocks));
  const none = await run(translate(book, ...blocks, "--train-on", "none"));
  const frozen = await run(translate(book, ...blocks, "--no-templora"));
  const updates = of(learnt.lines, "update");
  const last = of(learnt.lines, "paragraph").at(-1)?.["block"];
  assert.match(learnt.stderr, new RegExp(`paragraphs: 8; updates: ${updates.length}\\n`));
  for (const { stderr } of [none, frozen]) assert.match(stderr, /paragraphs: 8; no updates\n/);
  assert.equal(updates.map((line) => line["block"]), [...Array(last).keys()]); // prettier-ignore
  assert.ok(updates.length > 2);
  assert.equal(said(none.lines), said(frozen.lines));
  const untrained = of(none.lines, "paragraph").filter((line) => (line["block"] as number) < 2).length; // no rate before the second update
  assert.equal(said(learnt.lines).slice(0, untrained), said(none.lines).slice(0, untrained));
  assert.not.equal(said(learnt.lines), said(none.lines));
});

test("--json: the lines and their keys", async () => {
  const { code, stdout, stderr } = await templora(translate(book, ...blocks, "--json", "-", "--quiet"));
  assert.is(code, 0);
  assert.is(stderr, "");
  const lines = jsonLines(stdout);
  const [config] = lines;
  assert.equal(
    ["command", "src", "tgt", "train_on", "chunk", "window", "paragraphs", "max_new_tokens"].map(
      (key) => config?.[key],
    ),
    ["translate", "zh", "en", "self", 40, 200, 8, 60],
  );
  const keys = (line: JsonLine | undefined): string => Object.keys(line ?? {}).sort().join(" "); // prettier-ignore
  assert.is(
    keys(of(lines, "paragraph")[0]),
    "block bytes context cut flops index part seconds source text tokens translation type",
  );
  const summary = lines.at(-1) ?? {};
  assert.is(keys(summary), "bytes flops paragraphs peak_bytes seconds text tokens type");
  const tokens = of(lines, "paragraph").map((line) => line["tokens"] as number);
  assert.equal([summary["paragraphs"], summary["tokens"]], [8, tokens.reduce((a, b) => a + b, 0)]);
  for (const amount of ["flops", "bytes"])
    for (const what of ["base", "score", "train"]) {
      const spent = [...lines.slice(1, -1), summary].map((line) => (line[amount] as Record<string, number>)[what] ?? NaN); // prettier-ignore
      const all = spent.pop();
      assert.is(all, spent.reduce((a, b) => a + b, 0), `${amount}, ${what}`); // prettier-ignore
    }
});

test("the translation has the text's shape, on stdout and in --out: white space, line ends, rows of asterisks", async () => {
  const text = "\ufeff\u3000鲸来了。\r\n\r\n* * *\r\n\r\n海很\r\n大。\r\n \r\n\t风起了。";
  const out = inFolder("shape.en.txt");
  const { lines, stdout } = await run(translate(inFolder("shape.txt", text), "--out", out));
  const [a, b, c] = said(lines);
  assert.equal(of(lines, "paragraph").map((line) => line["source"]), ["鲸来了。", "海很大。", "风起了。"]); // prettier-ignore
  assert.is(stdout, `\u3000${a}\r\n\r\n* * *\r\n\r\n${b}\r\n \r\n\t${c}`);
  assert.is(readFileSync(out, "utf8"), stdout);
  const inLines = await run(translate(inFolder("lines.txt", "\n鲸来了。\n海很大。\n"), "--no-templora"));
  const [d, e] = said(inLines.lines);
  assert.is(inLines.stdout, `\n${d}\n${e}\n`);
  assert.is(of(inLines.lines, "update").length, 0);
  assert.equal(at(inLines.lines, 0)["train_on"], "none");
});

test("one huge paragraph comes in pieces, a sentence that is too long in pieces of its own, and that is said", async () => {
  const paragraph = `${sentences.join("")}${"风起了，".repeat(12)}`;
  const { lines, stdout, stderr } = await run(translate(inFolder("huge.txt", `${paragraph}\n\n夜深。\n`)));
  const pieces = of(lines, "paragraph");
  assert.ok(pieces.length > 4);
  assert.equal(pieces.map((line) => line["index"]), [...pieces.slice(1).map(() => 0), 1]); // prettier-ignore
  assert.equal(pieces.slice(0, -1).map((line) => line["part"]), [...pieces.slice(1).keys()]); // prettier-ignore
  assert.is(pieces.slice(0, -1).map((line) => line["source"]).join(""), paragraph); // prettier-ignore
  assert.is(stdout, `${said(lines).slice(0, -1).join(" ")}\n\n${said(lines).at(-1)}\n`);
  assert.match(stderr, /a sentence of more than 20 tokens is cut between words in paragraph 1\n/);
  const unspaced = await run(translate(inFolder("huge.txt"), "--tgt", "th", "--no-templora"));
  const thai = said(unspaced.lines);
  assert.is(unspaced.stdout, `${thai.slice(0, -1).join("")}\n\n${thai.at(-1)}\n`);
});

test("a translation that is cut, or empty, is said", async () => {
  const { lines, stderr } = await run(
    translate(book, "--max-new-tokens", "3", "--max-paragraphs", "2", "--no-templora"),
  );
  const paragraphs = of(lines, "paragraph");
  assert.ok(paragraphs.every(({ cut, tokens }) => cut === true && tokens === 3));
  assert.match(stderr, /cut at --max-new-tokens: paragraph 1, 2\n/);
});

test("--glossary: the terms that occur are in the prompts, and counted", async () => {
  const plain = await run(translate(book, "--no-templora", "--max-paragraphs", "3"));
  const [first = ""] = said(plain.lines);
  const names = inFolder("names.tsv", `鲸\t${first.slice(0, 1)}\n以实玛利\tIshmael\n海\tsea\n`);
  const { lines, stderr } = await run(
    translate(book, "--no-templora", "--max-paragraphs", "3", "--glossary", names),
  );
  const context = (all: readonly JsonLine[]): number[] =>
    of(all, "paragraph").map((line) => line["context"] as number);
  context(lines).forEach((tokens, i) => assert.ok(tokens > at(context(plain.lines), i)));
  const has = (text: string, term: string): number => Number(text.toLowerCase().includes(term.toLowerCase()));
  const { glossary } = lines.at(-1) ?? {};
  assert.equal(glossary, [
    {
      source: "鲸",
      target: first.slice(0, 1),
      occurred: 1,
      rendered: has(said(lines)[0] ?? "", first.slice(0, 1)),
    },
    { source: "以实玛利", target: "Ishmael", occurred: 1, rendered: has(said(lines)[1] ?? "", "Ishmael") },
  ]);
  assert.match(stderr, /glossary: \d of 2 as given.*以实玛利 = Ishmael \(0 of 1\)/);
});

test("the terms that did not always come out as given are named, each with how often it did", async () => {
  const text = inFolder("terms.txt", ["鲸来了", "鲸来了，水很大", "鲸来", "水很大，鲸来了", "来了，鲸", "鲸走了"].join("\n")); // prettier-ignore
  const terms = [["鲸", ","], ["来", "/y"], ["了", "4"], ["水", "<"], ["很", "f"], ["走", "\u{10ffff}"], ["船", "n"]] as const; // prettier-ignore
  const names = inFolder("terms.tsv", terms.map((term) => `${term.join("\t")}\n`).join(""));
  const { lines, stderr } = await run(translate(text, "--no-templora", "--glossary", names));
  const counted = terms.map(([source, target]) => {
    const having = of(lines, "paragraph").filter((line) => String(line["source"]).includes(source));
    const begins = new RegExp(`${/^\w/.test(target) ? "(?<![\\p{L}\\p{M}\\p{N}])" : ""}${target}`, "iu");
    const rendered = having.filter((line) => begins.test(String(line["translation"])));
    return [rendered.length, having.length] as const;
  });
  const sum = (i: 0 | 1): number => counted.reduce((total, pair) => total + pair[i], 0);
  const missed = counted.flatMap(([rendered, occurred], i) =>
    rendered < occurred ? [`${at(terms, i).join(" = ")} (${rendered} of ${occurred})`] : [],
  );
  assert.ok(stderr.includes(`glossary: ${sum(0)} of ${sum(1)} as given; not ${missed.join(", ")}\n`), stderr);
  assert.is(missed.at(-1), "走 = \u{10ffff} (0 of 1)");
  assert.ok(
    missed.some((term) => !term.includes("(0 of")),
    missed.join(),
  );
});

/** Interrupts when the translation has come so far. */
const stopAt = (characters: number): CallOptions => {
  let seen = "";
  return { onOutput: (text, stop) => (seen += text).length >= characters && stop() };
};

test("interrupted anywhere, in the middle of a paragraph, too, then resumed, it gives what an uninterrupted run gives", async () => {
  const [out, json] = [inFolder("kept.txt"), inFolder("kept.jsonl")];
  const twice = inFolder("twice.txt", [...sentences, ...sentences].join("\n"));
  const threes = ["--chunk", "70", "--window", "100", "--max-new-tokens", "45"];
  const argv = translate(twice, ...threes, "--out", out, "--json", json, "--state", inFolder("kept.state"));
  const lines = (): object[] => jsonLines(readFileSync(json, "utf8")).map(withoutTimes);
  const whole = await templora(argv);
  assert.is(whole.code, 0, whole.stderr);
  const [text, records] = [readFileSync(out, "utf8"), lines()];
  assert.is(text, whole.stdout);
  for (const path of [out, json]) rmSync(path);
  for (const share of [0.1, 0.45, 0.5, 0.9]) {
    const stopped = await templora(share > 0.1 ? [...argv, "--resume"] : argv, stopAt(share * text.length));
    assert.is(stopped.code, 130, stopped.stderr);
    assert.match(stopped.stderr, /--resume/);
    assert.ok(
      text.startsWith(stopped.stdout) && stopped.stdout.length < (share + 0.1) * text.length,
      "stops at once",
    );
  }
  const resumed = await templora([...argv, "--resume"]);
  assert.is(resumed.code, 0, resumed.stderr);
  assert.equal([readFileSync(out, "utf8"), resumed.stdout, lines()], [text, text, records]);
  assert.not.ok(existsSync(inFolder("kept.state")), "a complete run leaves no state");
});

test("a run that is killed goes on from the last paragraph that it has kept", async () => {
  const out = inFolder("killed.txt");
  const argv = translate(book, ...blocks, "--out", out, "--state", inFolder("killed.state"));
  const whole = await templora(argv);
  const text = readFileSync(out, "utf8");
  rmSync(out);
  const [, , third = ""] = text.split("\n\n");
  const options = { env: { TEMPLORA_SAVE_EVERY_MS: "0" }, signal: "SIGKILL" } as const;
  const literally = third.replaceAll(/[\\^$.*+?()[\]{}|/]/g, "\\$&");
  const killed = await binary(argv, { ...options, interruptOn: new RegExp(literally) });
  assert.is(killed.code, null);
  const resumed = await templora([...argv, "--resume"]);
  assert.is(resumed.code, 0, resumed.stderr);
  assert.equal([resumed.stdout, readFileSync(out, "utf8")], [whole.stdout, text]);
});

test("on a terminal control characters are harmless, and the figures stand beside the text", async () => {
  const { stdout, stderr } = await run(translate(book, "--max-paragraphs", "2"), { terminal: true });
  assert.not.match(stdout.replaceAll(/[\n\t]/g, ""), /\p{Cc}/u);
  assert.match(stderr, /paragraph 1\/2/);
  const unended = translate(inFolder("unended.txt", "夜深。"), "--no-templora");
  const [shown, piped] = [await run(unended, { terminal: true }), await run(unended)];
  assert.ok(shown.stdout.endsWith("\n") && !piped.stdout.endsWith("\n"));
});

test("the state of another run is refused: another glossary, other white space", async () => {
  const state = inFolder("other.state");
  const stopped = await templora(translate(book, "--state", state), stopAt(1));
  assert.is(stopped.code, 130);
  const more = inFolder("more.txt", `${sentences.join("\n\n\n")}\n`);
  const names = inFolder("one.tsv", "鲸\twhale\n");
  for (const argv of [
    translate(more),
    translate(book, "--glossary", names),
    translate(book, "--window", "7"),
  ]) {
    const { code, stderr } = await templora([...argv, "--state", state, "--resume"]);
    assert.is(code, 2, stderr);
    assert.match(stderr, /other\.state: the state of another run/);
  }
});

const pairs = '[{"contexts":{"k1":[]},"inference":[{"zh":"鲸","en":"whale"}]}]';
for (const [argv, says] of [
  [["translate", book], /--model is missing/],
  [translate(inFolder("empty.txt", "")), /empty\.txt: the text is empty/],
  [translate(inFolder("blank.txt", " \n\n\t\n")), /blank\.txt: the text is empty/],
  [translate(inFolder("stars.txt", "***\n")), /stars\.txt: no words to translate in it/],
  [translate(inFolder("none.txt")), /none\.txt: no such file/],
  [
    translate(inFolder("latin1.txt", Buffer.from("fa\xe7ade", "latin1"))),
    /latin1\.txt: not UTF-8 at byte offset 2/,
  ],
  [
    translate(inFolder("pairs.txt", pairs)),
    /pairs\.txt: a list in JSON; pairs are read from files whose name ends in \.json/,
  ],
  [
    translate(inFolder("text.json", "鲸来了。")),
    /text\.json: not valid JSON; .*; pairs are JSON, a text has another ending, such as \.txt/,
  ],
  [
    translate(book, "--train-on", "gold"),
    /--train-on gold: a text has no references to train on; give self or none/,
  ],
  [translate(book, "--src", "chinese_"), /--src chinese_: expected the code of a language, such as zh/],
  [translate(book, "--tgt", "english"), /english: not the code of a language.*--instruction/],
  [
    translate(book, "--bleu-tokenizer", "zh"),
    /--bleu-tokenizer is for pairs; .*book\.txt is a text, since its name does not end in \.json/,
  ],
  [translate(book, "--max-pairs", "3"), /--max-pairs is for pairs/],
  [translate(book, "--context", "k1"), /--context is for pairs/],
  [translate(book, "--no-baseline"), /--no-baseline is for pairs/],
  [
    translate(inFolder("pairs.json", pairs), "--glossary", book),
    /--glossary is for a text; .*pairs\.json holds pairs/,
  ],
  [translate(inFolder("pairs.json", pairs), "--out", inFolder("x")), /--out is for a text/],
  [translate(book, "--paragraphs", "tab"), /--paragraphs tab: expected blank, line/],
  [translate(book, "--chunk", "0"), /--chunk 0: expected a whole number, at least 1/],
  [
    translate(book, "--glossary", inFolder("bad.tsv", "鲸\twhale\n海 sea\n")),
    /bad\.tsv, line 2: expected a term, a tab/,
  ],
  [
    translate(book, "--glossary", inFolder("twice.tsv", "鲸\ta\n\n鲸\tb\n")),
    /twice\.tsv, line 3: "鲸" is there already, in line 1/,
  ],
  [
    translate(book, "--max-new-tokens", "500"),
    /block 0: .* the model has 512; a smaller --chunk, fewer --max-new-tokens would/,
  ],
  [translate(book, "--out", book), /book\.txt: --out would change what the translation reads/],
  [
    translate(book, "--glossary", inFolder("names.txt", "鲸\twhale\n"), "--out", inFolder("names.txt")),
    /names\.txt: --out would change what --glossary reads/,
  ],
] as const)
  test(`exit 2: ${argv.join(" ").replaceAll(folder, "TMP")}`, async () => {
    const { code, stdout, stderr } = await templora(argv);
    assert.match(stderr, says);
    assert.match(stderr, /^templora: [^\n]*\n$/);
    assert.equal([code, stdout], [2, ""]);
  });

test.run();
