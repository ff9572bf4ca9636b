/** The tables and plots of docs/results.md: what the paper shows, from records of runs (bench/runs.bench.ts). */
import { colours, plot } from "../cli/report/plot.ts";
import { gainPlot } from "../cli/report/reading.ts";
import type { ChunkRecord } from "../templora/records.ts";
import { type Column, type Record_, type Row, columns, newest, text } from "./bench_records.ts";

/** The books of the paper's first task: what each comes to, and where in it the gain is. */
export const pg19 = ({ timings }: Record_): string =>
  columns(timings, [
    ["book", (row) => String(row["text"]).replace(".txt", "")],
    ["tokens", "tokens"],
    ["base ppl", "base_ppl"],
    ["Temp-LoRA ppl", "lora_ppl"],
    ["change, %", (row) => changeOf(row["base_ppl"], row["lora_ppl"])],
    [
      "the same, mean of chunks, %",
      (row) => changeOf(row["base_mean_chunk_ppl"], row["lora_mean_chunk_ppl"]),
    ],
    ...[0, 1, 2, 3].map((quarter): Column => {
      const [from, to] = [quarter * 25, (quarter + 1) * 25];
      return [
        `${from} to ${to} % of it`,
        (row) => changeWithin(row["chunks"] as readonly Row[], from / 100, to / 100),
      ];
    }),
  ]);

const changeOf = (base: unknown, lora: unknown): number => 100 * (Number(lora) / Number(base) - 1);

/** The same loop in PyTorch: how far a chunk's loss is from ours at most. */
export const pg19PyTorch = ({ timings }: Record_): string =>
  columns(timings, [
    ["book", (row) => String(row["text"]).replace(".txt", "")],
    ["chunks", (row) => (row["chunks"] as readonly Row[]).length],
    ["base, a chunk's NLL apart by at most, %", (row) => apart(row, "base_nll")],
    ["Temp-LoRA, %", (row) => apart(row, "lora_nll")],
    ["against", "library"],
  ]);

function apart({ text, chunks }: Row, key: string): number {
  const ours = newest("pg19")?.timings.find((row) => row["text"] === text)?.["chunks"] as readonly Row[];
  return (chunks as readonly Row[]).reduce(
    (most, chunk, i) => Math.max(most, 100 * Math.abs(Number(chunk[key]) / Number(ours[i]?.[key]) - 1)),
    0,
  );
}

/** The change of perplexity in a part of a text's chunks, in percent. */
function changeWithin(chunks: readonly Row[], from: number, to: number): number {
  const part = chunks.slice(Math.round(from * chunks.length), Math.round(to * chunks.length));
  const sum = (key: string): number => part.reduce((total, chunk) => total + Number(chunk[key]), 0);
  return 100 * (Math.exp((sum("lora_nll") - sum("base_nll")) / sum("tokens")) - 1);
}

/** The gain of each text of a suite's newest record against position; null without one. */
export function gains(suite: string): string | null {
  const texts = newest(suite)?.timings.map((row) => row["chunks"] as readonly ChunkRecord[]);
  return texts ? plot("gain of each text against position", gainPlot(texts, "Temp-LoRA")) : null;
}

const cost = (row: Row, of: "flops" | "seconds", part: "inference" | "update"): number =>
  Number((row[of] as Row)[part]) / Number(row["tokens"]);
const nameOf = (row: Row): string => (row["templora"] === true ? "Temp-LoRA" : "base");
const isFrozen = (row: Row): boolean => row["templora"] !== true;

const costs: readonly Column[] = [
  ["GFLOP a token", (row) => cost(row, "flops", "inference") / 1e9],
  ["update GFLOP", (row) => cost(row, "flops", "update") / 1e9],
  ["ms a token", (row) => 1000 * cost(row, "seconds", "inference")],
  ["update ms", (row) => 1000 * cost(row, "seconds", "update")],
];

/** Windows, with Temp-LoRA and without, over all texts; what reading costs is also said as a share of the longest window's. */
export function efficiency({ timings }: Record_): string {
  const rows = timings
    .filter(({ text }) => text === null)
    .sort((a, b) => Number(a["window"]) - Number(b["window"]));
  const frozen = rows.filter(isFrozen);
  const longest = frozen.at(-1);
  const inference = (row: Row | undefined): number => (row ? cost(row, "flops", "inference") : NaN);
  return columns(rows, [
    ["", nameOf],
    ["window", "window"],
    ["chunk", "chunk"],
    ["tokens", "tokens"],
    ["perplexity", "ppl"],
    ["from the longest window's, %", (row) => changeOf(longest?.["ppl"], row["ppl"])],
    ["inference FLOPs, % of its", (row) => (100 * inference(row)) / inference(longest)],
    ...costs,
  ]);
}

/** The same as a figure: perplexity against what a token costs, with the updates and without; null without a record. */
export function efficiencyPlot(): string | null {
  const rows = newest("efficiency")?.timings.filter(({ text }) => text === null);
  if (!rows) return null;
  const points = (
    of: (row: Row) => boolean,
    parts: readonly ("inference" | "update")[],
  ): (readonly [number, number])[] =>
    rows
      .filter(of)
      .map((row) => [
        parts.reduce((sum, part) => sum + cost(row, "flops", part) / 1e9, 0),
        Number(row["ppl"]),
      ]);
  const adapted = (row: Row): boolean => !isFrozen(row);
  return plot("perplexity against what a token costs", {
    ...{ x: "GFLOP a token", y: "perplexity", scattered: true },
    series: [
      { name: "base", colour: colours.base, points: points(isFrozen, ["inference"]) },
      { name: "Temp-LoRA", colour: colours.lora, points: points(adapted, ["inference"]) },
      {
        name: "with its updates",
        colour: colours.other,
        points: points(adapted, ["inference", "update"]),
      },
    ],
  });
}

/** What a reader waits for while a text is written: updates are in the mean, and are the longest wait. */
export function latency({ timings }: Record_): string {
  const waits = (row: Row): Row => (row["seconds"] as Row)["latency"] as Row;
  return columns(timings, [
    ["", nameOf],
    ["window", "window"],
    ["chunk", "chunk"],
    ["schedule", (row) => (isFrozen(row) ? "" : row["schedule"])],
    ["tokens written", "generated_tokens"],
    ["ms a token, all in", (row) => 1000 / Number(row["tokens_per_second"])],
    ...(["median", "p95", "longest"] as const).map((name): Column => [
      `${name}, ms`,
      (row) => 1000 * Number(waits(row)[name]),
    ]),
  ]);
}

/** What a model writes beyond its positions, in a larger model's judgement (bench/generation.bench.ts). */
export const generationMethods = ({ timings, judge, tokens }: Record_): string => {
  const adapted = (row: Row): unknown =>
    timings.find((one) => !isFrozen(one) && one["method"] === row["method"])?.["judged_ppl"];
  return `${columns(timings.filter(isFrozen), [
    ["method", "method"],
    ["perplexity of what the base writes", "judged_ppl"],
    ["with Temp-LoRA", adapted],
    ["change, %", (row) => changeOf(row["judged_ppl"], adapted(row))],
  ])}\n\n${text(tokens)} tokens each; the judge is ${text(judge)}.`;
};

/** Other methods for long texts, each without and with Temp-LoRA: all texts together, then each. */
export const methods = ({ timings }: Record_): string => {
  const frozen = timings.filter(isFrozen);
  const full = (row: Row): Row | undefined =>
    frozen.find(({ text, method }) => method === "full" && text === row["text"]);
  const adapted = (row: Row): Row | undefined =>
    timings.find((one) => !isFrozen(one) && one["text"] === row["text"] && one["method"] === row["method"]);
  return columns(
    [...frozen].sort((x, y) => Number(typeof x["text"] === "string") - Number(typeof y["text"] === "string")),
    [
      ["text", ({ text }) => (typeof text === "string" ? text.replace(".txt", "") : "all")],
      ["method", "method"],
      ["window", "window"],
      ["base ppl", "ppl"],
      ["from full's, %", (row) => changeOf(full(row)?.["ppl"], row["ppl"])],
      ["with Temp-LoRA", (row) => adapted(row)?.["ppl"]],
      ["change, %", (row) => changeOf(row["ppl"], adapted(row)?.["ppl"])],
      ["from full's, %", (row) => changeOf(full(row)?.["ppl"], adapted(row)?.["ppl"])],
    ],
  );
};

/** Sentence pairs: the lines of a file, or a third of them. */
export const translation = ({ timings }: Record_): string =>
  columns(timings, [
    ["pairs", (row) => String(row["text"]).replace(".json", "")],
    ["model", "model"],
    ["trained on", "train_on"],
    [
      "lines",
      ({ part, lines }) => {
        const [from = 0, to = 0] = lines as readonly number[];
        return part === null ? "all" : `${from} to ${to - 1}`;
      },
    ],
    ["base ppl", "base_ppl"],
    ["Temp-LoRA ppl", "lora_ppl"],
    ["change, %", (row) => changeOf(row["base_ppl"], row["lora_ppl"])],
    ["the same, mean of lines, %", (row) => changeOf(row["base_mean_line_ppl"], row["lora_mean_line_ppl"])],
    ["base BLEU", "base_bleu"],
    ["Temp-LoRA BLEU", "lora_bleu"],
    ["base chrF", "base_chrf"],
    ["Temp-LoRA chrF", "lora_chrf"],
  ]);
