/** What a translation run reports, of all its lines and by position. The field names are those of the JSON lines. */
import { corpusBleu } from "./metrics/bleu.ts";
import { corpusChrf } from "./metrics/chrf.ts";
import type { BleuTokenizer } from "./metrics/tokenizers.ts";
import { type Spent, Totals } from "./records.ts";
import type { LineRecord } from "./pair_material.ts";
import type { TranslationRecord } from "./translate.ts";

export interface TranslationScores extends Spent {
  /** The first line and one past the last, of all lines of the run. */
  readonly lines: readonly [from: number, to: number];
  /** Tokens of the references. */
  readonly tokens: number;
  /** exp(total NLL / tokens) of the references. */
  readonly base_ppl: number | null;
  readonly lora_ppl: number | null;
  /** The paper's: the token-weighted mean of the lines' perplexities. */
  readonly base_mean_line_ppl: number | null;
  readonly lora_mean_line_ppl: number | null;
  /** 100 · (1 − lora_ppl / base_ppl). */
  readonly reduction_percent: number | null;
  /** Of the corpus that these lines are. */
  readonly base_bleu: number | null;
  readonly lora_bleu: number | null;
  readonly base_chrf: number | null;
  readonly lora_chrf: number | null;
}

/** The scores of the lines in [from, to), with the cost of the updates behind them. `records`: in their order. */
export function scoresOf(
  records: readonly TranslationRecord[],
  tokenizer: BleuTokenizer,
  [from, to]: readonly [from: number, to: number] = [0, Infinity],
): TranslationScores {
  const lines: LineRecord[] = [];
  const totals = new Totals();
  let inside = false;
  for (const record of records) {
    if (record.type === "line") inside = record.index >= from && record.index < to;
    if (!inside) continue;
    if (record.type === "update") totals.spend(record);
    else {
      totals.add(record);
      lines.push(record);
    }
  }
  const p = totals.perplexities;
  const references = lines.map(({ reference }) => reference);
  const compared = (
    key: "base_translation" | "lora_translation",
    metric: (said: string[], wanted: string[]) => number,
  ): number | null => {
    const said = lines.map((line) => line[key]).filter((text) => text !== null);
    return said.length < lines.length ? null : metric(said, references);
  };
  const bleu = (said: string[], wanted: string[]): number => corpusBleu(said, wanted, tokenizer);
  return {
    ...{ lines: [from, Math.min(to, from + lines.length)], tokens: p.tokens },
    ...{ base_ppl: p.base_ppl, lora_ppl: p.lora_ppl },
    ...{ base_mean_line_ppl: p.base_mean_chunk_ppl, lora_mean_line_ppl: p.lora_mean_chunk_ppl },
    reduction_percent: p.reduction_percent,
    ...{ base_bleu: compared("base_translation", bleu), lora_bleu: compared("lora_translation", bleu) },
    base_chrf: compared("base_translation", corpusChrf),
    lora_chrf: compared("lora_translation", corpusChrf),
    ...{ flops: p.flops, bytes: p.bytes, seconds: p.seconds },
  };
}

/** The bounds of `parts` parts of `count` lines, as equal as can be; fewer where there are fewer lines. */
export function partsOf(count: number, parts: number): (readonly [from: number, to: number])[] {
  const most = Math.min(parts, count);
  const bound = (i: number): number => Math.round((i * count) / most);
  return Array.from({ length: most }, (_, i) => [bound(i), bound(i + 1)] as const);
}
