/**
 * Makes a record of runs of `templora ppl`, `sweep`, `compare`, `generate`, `recall` or `translate`, so that the tables of the documents can be made from it.
 *
 *   templora ppl book.txt … --json run.jsonl && npx tsx bench/runs.bench.ts --suite ppl [--commit HASH] run.jsonl…
 *
 * Suite `context` holds runs of the same texts with the context's gradient on and off, `pg19` the paper's books under its recipe,
 * `pg19_whole` a book to its end, `pg19_long` one of them further on, `pg19_pytorch` the same of bench/peers/pg19.py, `conventions` what those of the published script change (scripts/conventions_table.ts),
 * `efficiency` short windows with Temp-LoRA beside long ones without, `latency` what a reader of the same waits for, `methods` other methods for
 * long texts, `methods_few_positions` the same of bench/small_model.py, `search` what was tried for a better recipe, `front` what a token costs and gains, and `tuned` what came of it (`tuned_gemma3` with another model, `tuned_books` on many books with several seeds, the first of which has the frozen model), `kept_keys` how long cached keys serve, `auto` what --recipe auto took, `paper_best` the paper's recipe with the best rate that was found for it, `neighbours` the same with a memory, `recall` what is still known by distance, `translation` and `translation_smollm2` sentence pairs. `--commit` is that of the runs, where they began before the newest one.
 */
import { readFileSync } from "node:fs";
import { basename, isAbsolute } from "node:path";
import { parseArgs } from "node:util";
import { writeRecord } from "./record.ts";

type Line = Readonly<Record<string, unknown>>;

/** Without the folders of the machine. */
const nameOf = (text: unknown): string | null => (typeof text === "string" ? basename(text) : null);

/** Likewise of a model; what `templora pull` calls it stays. */
const modelOf = (model: unknown): unknown => (isAbsolute(String(model)) ? nameOf(model) : model);

/** What a command's JSON lines give: a row for each summary or cell. */
const rows: Readonly<Record<string, (config: Line, lines: readonly Line[]) => Line[]>> = {
  ppl: (
    { model, device, recipe, chunk, window, train_window, seed, version, reuse_cache = 0, ...config },
    lines,
  ) =>
    summariesOf(lines).map(({ type: _, text, ...summary }) => ({
      ...{ text: nameOf(text), model, device, chunk, window },
      ...{ train_window, seed, version, reuse_cache },
      ...{ lr: (recipe as { lr: number }).lr, recipe },
      ...("load_adapter" in config && { loaded: nameOf(config["load_adapter"]) }),
      ...("budget" in config && { budget: config["budget"] }),
      ...("knn" in config && { knn: config["knn"], knn_tokens: config["knn_tokens"] }),
      ...("conventions" in config && { conventions: config["conventions"] }),
      ...summary,
      chunks: inParts(
        ofType(lines, "chunk")
          .filter((line) => line["text"] === text)
          .map((line) => ({ ...line, text: nameOf(line["text"]) })),
      ),
    })),
  pytorch: ({ text, library }, lines) => [{ text, library, chunks: ofType(lines, "chunk") }],
  sweep: cells,
  compare: cells,
  generate: ({ type: _, command: __, adapter_info: ___, ...facts }, lines) =>
    ofType(lines, "summary").map(({ type: _, text: __, generated: ___, ...summary }) => ({
      ...facts,
      ...summary,
      templora: Number((summary["flops"] as Line)["train"]) > 0,
    })),
  recall: ({ model, device, recipe, chunk, window, seed, tokens, language, knn }, lines) => {
    const [summary = {}] = ofType(lines, "summary");
    const facts = { model, device, chunk, window, seed, tokens, language, recipe, knn };
    return [
      ...(summary["by_distance"] as Line[]).map((row) => ({
        ...facts,
        ...row,
        tokens_ago: Number(row["distance"]) * Number(chunk),
      })),
      ...(summary["lost"] as Line[]).map((row) => ({ ...facts, ...row })),
    ];
  },
  translate: ({ type: _, command: __, adapter_info: ___, ...facts }, lines) =>
    ofType(lines, "summary").map(({ type: _, text, ...summary }) => ({
      ...facts,
      ...{ text: nameOf(text), ...summary },
    })),
};

/** Small chunks are added up, as far as the tables need them. */
const PART = 512;

function inParts(chunks: readonly Line[]): Line[] {
  const parts = new Map<number, Record<string, number | null>>();
  if (Number(chunks[1]?.["start"] ?? PART) >= PART) return [...chunks];
  for (const chunk of chunks) {
    const index = Math.floor(Number(chunk["start"]) / PART);
    const part = parts.get(index) ?? {
      index,
      start: Number(chunk["start"]),
      tokens: 0,
      base_nll: 0,
      lora_nll: 0,
    };
    for (const key of ["tokens", "base_nll", "lora_nll"])
      part[key] = chunk[key] === null ? null : Number(part[key]) + Number(chunk[key]);
    parts.set(index, part);
  }
  return [...parts.values()];
}

/** A run that was stopped in its first text has no summary: that of the chunks it read. */
function summariesOf(lines: readonly Line[]): Line[] {
  const summaries = ofType(lines, "summary");
  const chunks = ofType(lines, "chunk");
  if (summaries.length > 0 || chunks.length === 0) return summaries;
  const sum = (of: (chunk: Line) => unknown): number =>
    chunks.reduce((total, chunk) => total + Number(of(chunk)), 0);
  const ppl = (key: string): number => Math.exp(sum((chunk) => chunk[key]) / sum(({ tokens }) => tokens));
  const mean = (key: string): number =>
    sum((chunk) => Math.exp(Number(chunk[key]) / Number(chunk["tokens"]))) / chunks.length;
  return [
    {
      ...{ text: chunks[0]?.["text"], stopped: true, tokens: sum(({ tokens }) => tokens) },
      ...{ base_ppl: ppl("base_nll"), lora_ppl: ppl("lora_nll") },
      ...{ base_mean_chunk_ppl: mean("base_nll"), lora_mean_chunk_ppl: mean("lora_nll") },
    },
  ];
}

function cells({ model, device, seed, version }: Line, lines: readonly Line[]): Line[] {
  return ofType(lines, "cell").map(({ type: _, text, ...cell }) => ({
    ...{ model, device, seed, version, text: nameOf(text) },
    ...cell,
  }));
}

function ofType(lines: readonly Line[], type: string): Line[] {
  return lines.filter((line) => line["type"] === type);
}

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { suite: { type: "string" }, commit: { type: "string" } },
});
const { suite, commit } = values;
const suites = [
  ...["ppl", "context", "conventions", "efficiency", "latency", "methods", "methods_few_positions"],
  ...["pg19", "pg19_long", "pg19_whole", "pg19_pytorch", "translation", "translation_smollm2"],
  ...["search", "front", "tuned", "tuned_gemma3", "tuned_books", "kept_keys", "auto", "paper_best"],
  ...["neighbours", "recall"],
];
if (suite === undefined || !suites.includes(suite)) throw new Error(`--suite: one of ${suites.join(", ")}`);
const timings = positionals.flatMap((path) => {
  const lines = readFileSync(path, "utf8")
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line) as Line);
  const [config] = ofType(lines, "config");
  const of = rows[String(config?.["command"])];
  if (!config || !of) throw new Error(`${path}: not the JSON lines of ${Object.keys(rows).join(", ")}`);
  return of({ ...config, model: modelOf(config["model"]) }, lines);
});
console.log(await writeRecord(suite, commit === undefined ? {} : { commit }, timings));
