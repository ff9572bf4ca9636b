/** `templora translate PAIRS.json`: translates sentence pairs, and reports perplexity, BLEU and chrF beside the base model's. */
import type { Device } from "../engine/device.ts";
import { BadInputError } from "../engine/errors.ts";
import { jsonOf, jsonParts } from "../model/json_file.ts";
import { bleuSignature } from "../templora/metrics/bleu.ts";
import { chrfSignature } from "../templora/metrics/chrf.ts";
import type { BleuTokenizer } from "../templora/metrics/tokenizers.ts";
import { Turns } from "../engine/turns.ts";
import { type LineRecord, PairMaterial } from "../templora/pair_material.ts";
import { type Block, type PairOptions, blocksOf } from "../templora/pairs.ts";
import {
  MAX_NEW_TOKENS,
  type TranslateOptions,
  type TranslationRecord,
  stepsOf,
} from "../templora/translate.ts";
import { TranslationPrompt, longestOf } from "../templora/translation_prompt.ts";
import { type TranslationScores, partsOf, scoresOf } from "../templora/translation_scores.ts";
import { cells, change, count, duration, figure, percent, printable, table } from "./format.ts";
import type { Io } from "./output.ts";
import { peakBytes, throwIfStopped } from "./session.ts";
import { untilStopped } from "./signals.ts";
import type { ChosenOptions } from "./translate_options.ts";
import { type Outputs, type View, runTranslation, updated } from "./translation.ts";

/** A file of pairs is some megabytes. */
const MOST_BYTES = 2 ** 28;
/** How many parts the lines are divided into for the scores by position. */
const PARTS = 3;

/** sacrebleu's own choice, but for languages that it takes MeCab for or has no choice for: they are written without spaces. */
function tokenizerOf(language: string): BleuTokenizer {
  const [code = ""] = language.split("-");
  return code === "zh" ? "zh" : ["ja", "ko", "th"].includes(code) ? "char" : "13a";
}

/** A list of blocks; throws what would be the matter with a text, too. */
async function readPairs(path: string, options: PairOptions, io: Io): Promise<Block[]> {
  try {
    const json = await jsonOf(untilStopped(jsonParts(path, MOST_BYTES), io), path);
    return blocksOf(json, path, options);
  } catch (error) {
    if (!(error instanceof Error && error.cause instanceof SyntaxError)) throw error;
    throw new BadInputError(`${error.message}; pairs are JSON, a text has another ending, such as .txt`);
  }
}

export async function translatePairs(path: string, options: ChosenOptions, io: Io): Promise<void> {
  const { src, tgt, context = "k1", maxPairs: most = Infinity, baseline, trainOn = "gold" } = options;
  const { maxNewTokens = MAX_NEW_TOKENS, bleuTokenizer: bleu = tokenizerOf(tgt) } = options;
  const blocks = await readPairs(path, { src, tgt, context, most }, io);
  await runTranslation(path, options, io, async ({ tokenizer, config }) => {
    const prompt = new TranslationPrompt(tokenizer, options.instruction, {
      parseSpecial: options.special === true,
    });
    const given = { newTokens: maxNewTokens, own: trainOn === "self" };
    const alone = blocks.map(({ pairs }) => ({ context: [], pairs }));
    const turns = new Turns(() => throwIfStopped(io));
    const longest = await turns.run(longestOf(prompt, blocks, given, config));
    return {
      material: new PairMaterial(prompt, blocks, given, config, longest),
      less: ["--context none", () => new PairMaterial(prompt, alone, given, config)],
      ...{ prompt, blocks, texts: blocks },
      work: { trainOn, baseline, maxNewTokens },
      facts: { context, bleu: bleuSignature(bleu), chrf: chrfSignature },
      view: (outputs) => viewOf({ ...outputs, path, options, blocks, trainOn, bleu }),
    };
  });
}

interface Shown extends Outputs {
  readonly path: string;
  readonly options: ChosenOptions;
  readonly blocks: readonly Block[];
  readonly trainOn: TranslateOptions["trainOn"];
  readonly bleu: BleuTokenizer;
}

function viewOf(run: Shown): View<LineRecord> {
  const { path, options, blocks, trainOn, terminal } = run;
  const pairs = blocks.map((block) => block.pairs);
  const steps = stepsOf(pairs, options.templora && trainOn !== "none").length;
  const lines = pairs.flat().length;
  const about = `${options.src} → ${options.tgt}, lines: ${count(lines)}, blocks: ${count(blocks.length)}`;
  terminal.result(`${terminal.style(path, "bold")}: ${about}\n`);
  const began = performance.now();
  let [done, earlier] = [0, 0];
  return {
    show(record, live) {
      terminal.result(record.type === "line" ? shown(record, options) : updated(record));
      done++;
      if (!live) return void earlier++;
      const seconds = (performance.now() - began) / 1000;
      const left = duration((seconds * (steps - done)) / (done - earlier));
      terminal.progress({
        label: path,
        fraction: done / steps,
        figures: `step ${done}/${steps}, ${left} left`,
      });
    },
    report: (found, device) => report(found, lines, device, run),
  };
}

/** What a step shows: a line with its translations. Control characters would steer the terminal. */
function shown(r: LineRecord, { src, tgt }: ChosenOptions): string {
  const perplexity = (nll: number | null): number | null => (nll === null ? null : Math.exp(nll / r.tokens));
  const [base, lora] = [perplexity(r.base_nll), perplexity(r.lora_nll)];
  const seconds = r.seconds.base + r.seconds.score;
  const figures = [
    `line ${r.index}`,
    ...(base === null ? [] : [`base ppl ${figure(base)}`]),
    ...(lora === null ? [] : [`adapted ${figure(lora)}`]),
    ...(base === null || lora === null ? [] : [percent(change(base, lora))]),
    `${seconds.toFixed(1)} s`,
  ];
  const texts = [
    [src, r.source],
    [tgt, r.reference],
    ["base", r.base_translation],
    ["adapted", r.lora_translation],
  ] as const;
  const rows = texts.filter(([, text]) => text !== null);
  return `${figures.join(", ")}\n${rows.map(([name, text]) => `  ${cells([name], [7])}  ${printable(text ?? "")}\n`).join("")}`;
}

/** The closing table: all lines, then part by part. */
function report(found: readonly TranslationRecord[], lines: number, device: Device, run: Shown): void {
  const { path, options, trainOn, bleu: tokenizer, terminal, records } = run;
  const { baseline, templora } = options;
  const supervised = templora && trainOn === "gold";
  if (templora && trainOn !== "none" && run.blocks.length === 1)
    terminal.note("one block: the adapter learns nothing, since no line would follow");
  const all = scoresOf(found, tokenizer);
  const parts = partsOf(lines, PARTS).map((bounds) => scoresOf(found, tokenizer, bounds));
  const marked = supervised && { bleu_supervision: "online" };
  for (const [part, scores] of parts.entries())
    records.write({ type: "summary", text: path, part, ...scores, ...marked });
  const summary = { type: "summary", text: path, part: null, ...all, ...marked };
  records.write({ ...summary, peak_bytes: peakBytes(device) });
  const sides = <T>(base: T, lora: T, both: T): T[] => [
    ...(baseline ? [base] : []),
    ...(templora ? [lora] : []),
    ...(baseline && templora ? [both] : []),
  ];
  const row = (label: string, base: number | null, lora: number | null, digits = 2): string[] => {
    const shown = (x: number | null): string => (digits > 0 ? (x?.toFixed(digits) ?? "-") : figure(x));
    return [`  ${label}`, ...sides(shown(base), shown(lora), percent(change(base, lora)))];
  };
  const beside = supervised ? ", adapted under online supervision" : "";
  const rows = (title: string, s: TranslationScores): string[][] => [
    [title, ...sides("base", "adapted", "change")],
    row("perplexity, exp(NLL / tokens)", s.base_ppl, s.lora_ppl, 0),
    row("mean of line perplexities", s.base_mean_line_ppl, s.lora_mean_line_ppl, 0),
    row(`BLEU (${tokenizer})${beside}`, s.base_bleu, s.lora_bleu),
    row(`chrF${beside}`, s.base_chrf, s.lora_chrf),
  ];
  const blocks = parts.flatMap((s) => rows(`lines ${s.lines[0]} to ${s.lines[1] - 1}`, s));
  const { base, score, train } = all.seconds;
  const spent = sides(
    `base ${base.toFixed(1)} s`,
    `adapted ${score.toFixed(1)} s, train ${train.toFixed(1)} s`,
    "",
  );
  terminal.result(
    `\n${table([...rows("all lines", all), ...(parts.length > 1 ? blocks : [])])}` +
      `${((base + score + train) / lines).toFixed(1)} s a line (${spent.filter(Boolean).join(", ")} in all)\n`,
  );
}
