/** Perplexity by position and by the length of the text: what each bucket says against sums over the run's own JSON lines. */
import { cpSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { type JsonLine, jsonLines, templora } from "./support/cli.ts";
import { goldenFolder } from "./support/golden.ts";
import { temporaryFolder } from "./support/model_files.ts";

const test = suite("buckets");
const pathOf = (name: string): string => fileURLToPath(new URL(name, goldenFolder));
const folder = temporaryFolder();
process.env["TEMPLORA_CACHE"] = temporaryFolder();
const book = pathOf("moby-dick-excerpt.txt");
const books = join(folder, "books");
mkdirSync(books);
cpSync(book, join(books, "b.txt"));
writeFileSync(join(books, "a.txt"), readFileSync(book, "utf8").slice(0, 500));
writeFileSync(join(books, "notes.md"), "not a text");

const flags = ["--model", pathOf("tiny-tied"), "--device", "cpu", "--chunk", "100", "--window", "50"];
const ppl = async (...args: string[]): Promise<JsonLine[]> => {
  const { code, stdout, stderr } = await templora(["ppl", ...args, ...flags, "--rank", "4", "--json", "-"]);
  assert.is(code, 0, stderr);
  return jsonLines(stdout);
};

/** exp(NLL / tokens) of the chunks that begin in [from, to). */
function expected(chunks: readonly JsonLine[], from: number, to: number | null): object {
  const own = chunks.filter(({ start }) => Number(start) >= from && Number(start) < (to ?? Infinity));
  const sum = (key: string): number => own.reduce((total, chunk) => total + Number(chunk[key]), 0);
  const tokens = sum("tokens");
  return {
    from,
    to,
    tokens,
    base_ppl: Math.exp(sum("base_nll") / tokens),
    lora_ppl: Math.exp(sum("lora_nll") / tokens),
  };
}

const told = (buckets: unknown): object[] =>
  (buckets as JsonLine[]).map(({ from, to, tokens, base_ppl, lora_ppl }) => ({
    ...{ from, to, tokens, base_ppl, lora_ppl },
  }));

test("by position: a chunk belongs to where it begins; buckets without chunks are left out", async () => {
  const lines = await ppl(book, "--max-tokens", "850", "--buckets", "150,400,450,5000");
  const chunks = lines.filter(({ type }) => type === "chunk");
  assert.equal(told(lines.at(-1)?.["by_position"]), [
    expected(chunks, 0, 150),
    expected(chunks, 150, 400),
    expected(chunks, 400, 450),
    expected(chunks, 450, 5000),
  ]);
  const few = await ppl(book, "--max-tokens", "250", "--buckets", "100,5000,6000");
  assert.equal(
    told(few.at(-1)?.["by_position"]).map((bucket) => Object.values<unknown>({ ...bucket }).slice(0, 3)),
    [
      [0, 100, 99],
      [100, 5000, 150],
    ],
  );
});

test("one bucket says nothing that the summary does not; the paper's begin at 100,000 tokens", async () => {
  const [summary] = (await ppl(book, "--max-tokens", "300")).slice(-1);
  assert.is(summary?.["by_position"], undefined);
});

test("a folder's texts, in order, and over all of them by length, too", async () => {
  const lines = await ppl(books, "--max-tokens", "500", "--buckets", "200,480");
  const texts = lines.flatMap(({ type, text }) => (type === "summary" ? [text] : []));
  assert.equal(texts, [join(books, "a.txt"), join(books, "b.txt"), null]);
  const chunks = lines.filter(({ type }) => type === "chunk");
  const all = lines.at(-1);
  assert.equal(told(all?.["by_position"]), [expected(chunks, 0, 200), expected(chunks, 200, 480)]);
  const of = (path: string): JsonLine[] => chunks.filter(({ text }) => text === path);
  const [short, long] = [of(join(books, "a.txt")), of(join(books, "b.txt"))];
  assert.equal(told(all?.["by_length"]), [
    { ...expected(short, 0, null), from: 200, to: 480 },
    { ...expected(long, 0, null), from: 480, to: null },
  ]);
});

test("what is refused", async () => {
  const refused = async (args: readonly string[], says: RegExp): Promise<void> => {
    const { code, stderr } = await templora(["ppl", ...args, ...flags]);
    assert.is(code, 2);
    assert.match(stderr, says);
  };
  await refused([book, "--buckets", "5,5"], /--buckets 5,5: each number must be above the one before it/);
  await refused([book, "--buckets", "0"], /--buckets 0: expected a whole number, at least 1/);
  await refused([book, "--buckets", "1,,2"], /--buckets : expected a whole number/);
  const empty = join(folder, "empty");
  mkdirSync(empty);
  await refused([empty], /empty: a folder without \.txt files/);
});

test.run();
