/** The tables of a better recipe than the paper's: what was tried, and what came of it. */
import { type Column, type Record_, type Row, columns, newest, text } from "./bench_records.ts";

const change = (before: unknown, after: unknown): number => 100 * (Number(after) / Number(before) - 1);
const bookOf = (row: Row): string => String(row["text"]).replace(".txt", "");

/** What a token cost in updates. */
const update = (row: Row | undefined, of: "flops" | "seconds"): number =>
  row ? Number((row[of] as Row)["train"]) / Number(row["tokens"]) : NaN;

/** The same book in another suite. */
const sameIn = (suite: string, row: Row): Row | undefined =>
  newest(suite)?.timings.find((other) => other["text"] === row["text"] && other["tokens"] === row["tokens"]);
/** By the paper's recipe with its own rate, and with the best that was found, where only the adapted model was read. */
const paperOf = (row: Row): Row | undefined => sameIn("pg19", row);
const bestOf = (row: Row): Row | undefined => {
  const [best, base] = [sameIn("paper_best", row), paperOf(row)];
  if (!best || !base) return undefined;
  const frozen = base["chunks"] as readonly Row[];
  const chunks = (best["chunks"] as readonly Row[]).map((chunk, i) => ({
    ...chunk,
    base_nll: frozen[i]?.["base_nll"],
  }));
  return { ...best, base_ppl: base["base_ppl"], chunks };
};
const changeIn = (row: Row | undefined): number | string =>
  row ? change(row["base_ppl"], row["lora_ppl"]) : "-";

/** Each book by the tuned recipe, beside the paper's of suite `pg19`. */
export const tuned = ({ timings }: Record_): string =>
  columns(timings, [
    ["book", bookOf],
    ["seed", "seed"],
    ["tokens", "tokens"],
    ["base ppl", "base_ppl"],
    ["tuned ppl", "lora_ppl"],
    ["change, %", (row) => change(row["base_ppl"], row["lora_ppl"])],
    ["last quarter, %", (row) => lastQuarter(row["chunks"] as readonly Row[])],
    ["paper: change, %", (row) => changeIn(paperOf(row))],
    ["at lr 5e-4: ppl", (row) => text(bestOf(row)?.["lora_ppl"] ?? "-")],
    ["its change, %", (row) => changeIn(bestOf(row))],
    [
      "its last quarter, %",
      (row) => (bestOf(row) ? lastQuarter(bestOf(row)?.["chunks"] as readonly Row[]) : "-"),
    ],
    ["update GFLOP a token", (row) => update(row, "flops") / 1e9],
    ["paper's", (row) => update(paperOf(row), "flops") / 1e9],
    ["update ms a token", (row) => 1000 * update(row, "seconds")],
    ["paper's, ms", (row) => 1000 * update(paperOf(row), "seconds")],
  ]);

/** Books with several seeds; only the first has the frozen model, which draws nothing at random. */
export const books = ({ timings }: Record_): string => {
  const firsts = timings.filter((row) => row["base_ppl"] !== null);
  const seedsOf = (row: Row): readonly Row[] => timings.filter((other) => other["text"] === row["text"]);
  const changes = (row: Row): number[] =>
    seedsOf(row).map((seed) => change(row["base_ppl"], seed["lora_ppl"]));
  const parts = (row: Row): number[] => {
    const frozen = row["chunks"] as readonly Row[];
    return seedsOf(row).flatMap((seed) =>
      (seed["chunks"] as readonly Row[]).map(({ lora_nll, tokens }, i) => {
        const { base_nll, tokens: same } = frozen[i] ?? {};
        if (tokens !== same) throw new Error(`${bookOf(row)}: the seeds' parts differ`);
        return 100 * Math.expm1((Number(lora_nll) - Number(base_nll)) / Number(tokens));
      }),
    );
  };
  return columns(firsts, [
    ["book", bookOf],
    ["tokens", "tokens"],
    ["seeds", (row) => seedsOf(row).length],
    ["base ppl", "base_ppl"],
    ["change, %", (row) => changes(row).reduce((sum, x) => sum + x, 0) / seedsOf(row).length],
    ["between seeds, %", (row) => Math.max(...changes(row)) - Math.min(...changes(row))],
    ["parts of 512", (row) => parts(row).length],
    ["the worst, %", (row) => Math.max(...parts(row))],
    ["worse by over 2 %", (row) => parts(row).filter((x) => x > 2).length],
  ]);
};

/** What keys cost that are kept for several updates: by sets of targets, beside a window that is read anew for each chunk. */
export const keptKeys = ({ timings }: Record_): string => {
  const targetsOf = (row: Row): string => ((row["recipe"] as Row)["targets"] as readonly string[]).join(", ");
  const anew = (row: Row): unknown =>
    timings.find((other) => targetsOf(other) === targetsOf(row) && other["reuse_cache"] === 0)?.["lora_ppl"];
  const flops = (row: Row): Row => row["flops"] as Row;
  return columns(timings, [
    ["targets", (row) => targetsOf(row).replaceAll("_proj", "")],
    ["updates that keys are kept for", "reuse_cache"],
    ["ppl", "lora_ppl"],
    ["for an up-to-date window, %", (row) => change(anew(row), row["lora_ppl"])],
    ["reading, GFLOP a token", (row) => Number(flops(row)["score"]) / Number(row["tokens"]) / 1e9],
    ["updates", (row) => update(row, "flops") / 1e9],
  ]);
};

/** What --recipe auto took beside its budget. */
export const auto = ({ timings }: Record_): string => {
  const took = ({ seconds }: Row): number => {
    const { base, score, train } = seconds as Row;
    return (Number(score) + Number(train)) / Number(base);
  };
  return columns(timings, [
    ["book", bookOf],
    ["tokens", "tokens"],
    ["layers", (row) => (row["recipe"] as Row)["layers"]],
    ["window", "window"],
    ["budget, times the frozen model's", "budget"],
    ["took", took],
    ["above it, %", (row) => change(row["budget"], took(row))],
    ["base ppl", "base_ppl"],
    ["adapted ppl", "lora_ppl"],
  ]);
};

/** Another model by either recipe, a row each. */
export const otherModel = ({ timings }: Record_): string =>
  columns(timings, [
    ["book", bookOf],
    ["tokens", "tokens"],
    ["recipe", (row) => `${recipeOf(row)}, lr ${text(row["lr"])}`],
    ["base ppl", (row) => row["base_ppl"] ?? "-"],
    ["adapted ppl", "lora_ppl"],
    ["change, %", (row) => (row["base_ppl"] === null ? "-" : changeIn(row))],
    [
      "last quarter, %",
      (row) => (row["base_ppl"] === null ? "-" : lastQuarter(row["chunks"] as readonly Row[])),
    ],
    ["update GFLOP a token", (row) => update(row, "flops") / 1e9],
  ]);

/** The same books with a memory beside either model, and without. */
export const neighbours = ({ timings }: Record_): string => {
  const plain = (row: Row): Row | undefined =>
    newest("tuned")?.timings.find((other) => ["text", "tokens", "seed"].every((key) => other[key] === row[key])); // prettier-ignore
  const from = (row: Row, after: unknown): number => change(plain(row)?.["base_ppl"], after);
  return columns(timings, [
    ["book", bookOf],
    ["tokens", "tokens"],
    ["base ppl", (row) => Number(plain(row)?.["base_ppl"])],
    ["with a memory, %", (row) => from(row, row["base_ppl"])],
    ["tuned, %", (row) => from(row, plain(row)?.["lora_ppl"])],
    ["tuned with a memory, %", (row) => from(row, row["lora_ppl"])],
    ["its ppl", "lora_ppl"],
    ["share", "knn"],
  ]);
};

function lastQuarter(chunks: readonly Row[]): number {
  const part = chunks.slice(Math.round(0.75 * chunks.length));
  const sum = (key: string): number => part.reduce((total, chunk) => total + Number(chunk[key]), 0);
  return 100 * (Math.exp((sum("lora_nll") - sum("base_nll")) / sum("tokens")) - 1);
}

/** What was tried: the adapted perplexity after so many tokens of both tuning books. */
export const search = ({ timings }: Record_): string => {
  const cells = new Map<string, Row[]>();
  for (const row of timings.toSorted((a, b) => Number(b["tokens"]) - Number(a["tokens"]))) {
    const key = cellOf(row);
    cells.set(key, [...(cells.get(key) ?? []), row]);
  }
  const order = [...new Set(timings.map(cellOf))];
  const found = [...cells].sort(([a], [b]) => order.indexOf(a) - order.indexOf(b));
  const rows = found.map(([cell, runs]): Row => ({ cell, runs: runs }));
  const books = [...new Set(timings.map(bookOf))];
  const at = (tokens: number): Column[] =>
    books.map((book) => [
      `${book}, ${tokens / 1024}K`,
      (row) =>
        pplAt(
          (row["runs"] as Row[]).find((run) => bookOf(run) === book),
          tokens,
        ),
    ]);
  return columns(rows, [["recipe", "cell"], ...at(8192), ...at(16_384)]);
};

/** In the words of the flags. */
function cellOf(row: Row): string {
  if (row["base_ppl"] !== null) return "the frozen model";
  const recipe = row["recipe"] as Row;
  const say = (key: string, usual: unknown): string =>
    JSON.stringify(recipe[key]) === JSON.stringify(usual) ? "" : `, ${key} ${String(recipe[key])}`;
  const paper = recipe["context_grad"] === true;
  return (
    `${paper ? "paper" : "one pass"}: chunk ${String(row["chunk"])}, lr ${String(recipe["lr"])}` +
    (recipe["adapt"] === undefined ? "" : say("adapt", "lora")) +
    say("beta1", 0.9) +
    say("rank", 64) +
    say("alpha", recipe["rank"]) +
    say("epochs", paper ? 2 : 1) +
    ((recipe["targets"] as readonly string[]).length < 7
      ? `, ${(recipe["targets"] as readonly string[]).join(" ")}`
      : "") +
    (row["loaded"] === undefined ? "" : `, ${text(row["loaded"])}`)
  );
}

/** exp of the mean loss of the first `tokens`; no figure where a run has fewer. */
function pplAt(run: Row | undefined, tokens: number): number | string {
  const chunks = (run?.["chunks"] as readonly Row[] | undefined) ?? [];
  const part = chunks.filter(({ start, tokens: n }) => Number(start) + Number(n) <= tokens);
  const sum = (key: string): number => part.reduce((total, chunk) => total + Number(chunk[key]), 0);
  const nll = run?.["base_ppl"] === null ? "lora_nll" : "base_nll";
  return sum("tokens") < tokens - 2 ? "-" : Math.exp(sum(nll) / sum("tokens"));
}

/** Of a recipe with no name in a record. */
const recipeOf = (row: Row): string =>
  ((row["recipe"] as Row)["context_grad"] === true ? "paper" : "tuned") +
  (row["knn"] === undefined ? "" : ` with a memory, ${text(row["knn"])}`);
const percent = (share: unknown): string => `${(100 * Number(share)).toFixed(0)} %`;

/** What is still known of a text, by how long ago it stood there. */
export const recall = ({ timings }: Record_): string => {
  const rows = timings.filter((row) => row["distance"] !== undefined);
  return columns(rows, [
    ["recipe", recipeOf],
    ["tokens ago", "tokens_ago"],
    ["facts", "facts"],
    ["frozen: log p", "base_logp"],
    ["adapted: log p", "lora_logp"],
    ["frozen: exact", (row) => percent(row["base_exact"])],
    ["adapted: exact", (row) => percent(row["lora_exact"])],
  ]);
};

/** What learning that text has cost elsewhere. */
export const lost = ({ timings }: Record_): string =>
  columns(
    timings.filter((row) => row["what"] !== undefined && row["knn"] === undefined), // of the text it read, which has no part in it
    [
      ["recipe", recipeOf],
      [
        "perplexity of",
        (row) => (row["what"] === "chat" ? "the frozen model's own replies" : "an unrelated text"),
      ],
      ["tokens", "tokens"],
      ["frozen", "base_ppl"],
      ["adapted", "lora_ppl"],
      ["change, %", (row) => change(row["base_ppl"], row["lora_ppl"])],
    ],
  );
