/** What each convention of the paper's published script does to its figure, the mean of chunk perplexities: of the same text, one after the other. */
import { type Record_, type Row, columns } from "./bench_records.ts";

/**
 * The record has four runs of one book: as templora reads it with a longer window than that of training, with the same one, the text stripped,
 * and by --conventions official.
 */
export function conventions({ timings }: Record_): string {
  const own = timings.filter((row) => row["conventions"] !== "official");
  const official = timings.find((row) => row["conventions"] === "official") ?? {};
  const [long = {}, short = {}, stripped = {}] = [...own].sort(
    (a, b) =>
      Number(b["window"]) - Number(a["window"]) || String(a["text"]).length - String(b["text"]).length,
  );
  const steps = [
    ["the training window scores, the longer one has no effect", long, short],
    ["the text is stripped", short, stripped],
    ["the first chunk has 1,024 tokens, whatever the stride", stripped, weighedByScored(official)],
    [
      "it counts as one stride, the others by all their tokens, not by those scored",
      weighedByScored(official),
      official,
    ],
  ] as const;
  return columns(
    steps.map(([convention, before, after]) => ({
      convention,
      base: change(before, after, "base_mean_chunk_ppl"),
      lora: change(before, after, "lora_mean_chunk_ppl"),
    })),
    [
      ["convention", "convention"],
      ["base, %", "base"],
      ["Temp-LoRA, %", "lora"],
    ],
  );
}

const change = (before: Row, after: Row, key: string): number =>
  100 * (Number(after[key]) / Number(before[key]) - 1);

/** The means of a run's chunks, each weighted by its scored tokens. */
function weighedByScored({ chunks }: Row): Row {
  const rows = (chunks ?? []) as readonly Row[];
  const tokens = (row: Row): number => Number(row["tokens"]);
  const all = rows.reduce((sum, row) => sum + tokens(row), 0);
  const mean = (key: string): number =>
    rows.reduce((sum, row) => sum + (Math.exp(Number(row[key]) / tokens(row)) * tokens(row)) / all, 0);
  return { base_mean_chunk_ppl: mean("base_nll"), lora_mean_chunk_ppl: mean("lora_nll") };
}
