/** `templora translate`: translates sentence pairs, and reports perplexity, BLEU and chrF beside the base model's. */
import { Option } from "commander";
import type { Device } from "../engine/device.ts";
import { BadInputError } from "../engine/errors.ts";
import { readJson } from "../model/file.ts";
import type { ModelFiles } from "../model/model_files.ts";
import type { Recipe } from "../templora/config.ts";
import { bleuSignature } from "../templora/metrics/bleu.ts";
import { chrfSignature } from "../templora/metrics/chrf.ts";
import { type BleuTokenizer, tokenizers } from "../templora/metrics/tokenizers.ts";
import type { Tokenizer } from "../model/tokenizer.ts";
import { type Block, type PairOptions, blocksOf, contexts } from "../templora/pairs.ts";
import {
  type LineRecord,
  MAX_NEW_TOKENS,
  REPETITION_PENALTY,
  type TranslateOptions,
  type TranslationRecord,
  type TranslatorSnapshot,
  stepsOf,
  trainingTexts,
  translateBlocks,
} from "../templora/translate.ts";
import { TranslationPrompt, instructionFor, longestOf } from "../templora/translation_prompt.ts";
import { type TranslationScores, partsOf, scoresOf } from "../templora/translation_scores.ts";
import { type RecordSink, assertDistinct, keeping, openRecords } from "./files.ts";
import { cells, change, count, duration, figure, percent, table } from "./format.ts";
import { hash } from "./identity.ts";
import { assertTranslationFits } from "./memory.ts";
import {
  type CommonOptions,
  type Define,
  type LearningOptions,
  type StateOptions,
  type TextOptions,
  addCommonOptions,
  addLearningOptions,
  addStateOptions,
  checkCheckpointLayers,
  specialOption,
} from "./options.ts";
import type { Io, Terminal } from "./output.ts";
import { choice, numeric } from "./parsers.ts";
import { resolveRecipe } from "./recipe.ts";
import {
  configRecord,
  loadModel,
  openChosenDevice,
  openModel,
  openState,
  openTerminal,
  peakBytes,
  resumedUnder,
  throwIfKept,
} from "./session.ts";
import type { RunState } from "./state.ts";

interface TranslateCommandOptions
  extends CommonOptions, TextOptions, LearningOptions, StateOptions, Omit<PairOptions, "most"> {
  readonly maxPairs?: number;
  readonly instruction?: string;
  readonly trainOn: TranslateOptions["trainOn"];
  readonly baseline: boolean;
  readonly maxNewTokens: number;
  readonly repetitionPenalty: number;
  readonly bleuTokenizer?: BleuTokenizer;
}

/** A file of pairs is some megabytes. */
const MOST_BYTES = 2 ** 28;
/** How many parts the lines are divided into for the scores by position. */
const PARTS = 3;

export const translate: Define = (command, io) => {
  const integer = true;
  command
    .description(
      "Translates the lines of sentence pairs, one after the other, as the paper does: for each line the perplexity of its reference and a greedy " +
        "translation, of the frozen model and of the adapted one; after each block of lines the adapter is trained on it.",
    )
    .argument("<pairs.json>", "a list of blocks, in the format of the paper's data (docs/translation.md)");
  addCommonOptions(command)
    .optionsGroup("Text:")
    .option("--src <key>", "the language translated from: the key of a pair's line", "zh")
    .option("--tgt <key>", "the language translated to: the key of its reference", "en")
    .addOption(
      new Option("--context <name>", "pairs before a block: those of one block (k1), of three (k3), or none")
        .argParser(choice("--context", contexts))
        .default("k1"),
    )
    .option(
      "--instruction <text>",
      "what the model is told to do (default: the paper's for zh to en, else made of --tgt)",
    )
    .addOption(
      numeric("--max-pairs <n>", "translate at most so many lines (default: all)", { integer, min: 1 }),
    )
    .option(...specialOption)
    .optionsGroup("Translating (defaults are the paper's):")
    .addOption(
      numeric("--max-new-tokens <n>", "tokens of a translation at most", { integer, min: 1 }).default(
        MAX_NEW_TOKENS,
      ),
    )
    .addOption(
      numeric(
        "--repetition-penalty <x>",
        "divides the logits of tokens in the prompt and the line, 1 = none",
        {
          above: 0,
          max: 100,
        },
      ).default(REPETITION_PENALTY),
    )
    .addOption(
      new Option(
        "--bleu-tokenizer <name>",
        `sacrebleu's: ${Object.keys(tokenizers).join(", ")} (default: zh for zh, char for ja, ko and th, else 13a)`,
      ).argParser(bleuTokenizer),
    )
    .optionsGroup("Temp-LoRA (defaults are the paper's):")
    .addOption(
      new Option(
        "--train-on <text>",
        "after each block: gold, the references (the paper's; BLEU is then that of online supervision), self, what the adapted model wrote, or none",
      )
        .argParser(choice("--train-on", trainingTexts))
        .default("gold"),
    );
  addStateOptions(addLearningOptions(command).option("--no-baseline", "the adapted model only"))
    .addHelpText(
      "after",
      "\nExample:\n  templora translate luke.json --model gemma3-270m --max-pairs 100 --train-on self --json luke.jsonl\n",
    )
    .action((path: string, options: TranslateCommandOptions) => run(path, options, io));
};

/** A hash of what the model reads and stops at: chat template and tokenizer decide it as well as the pairs. */
function idsOf(prompt: TranslationPrompt, blocks: readonly Block[], { eosIds }: Tokenizer): string {
  const read = blocks.flatMap((block) => {
    const { inputs, targets } = prompt.training(
      block,
      block.pairs.map(({ target }) => target),
    );
    return [[...prompt.before(block, block.pairs.length - 1)], [...inputs], [...targets]];
  });
  return hash(JSON.stringify([read, eosIds]));
}

function bleuTokenizer(name: string): BleuTokenizer {
  if (/^(ja|ko)-mecab$/.test(name))
    throw new BadInputError(`--bleu-tokenizer ${name}: it needs MeCab and its dictionary; take char`);
  return choice("--bleu-tokenizer", Object.keys(tokenizers) as BleuTokenizer[])(name);
}

/** sacrebleu's own choice, but for languages that it takes MeCab for or has no choice for: they are written without spaces. */
function tokenizerOf(language: string): BleuTokenizer {
  const [code = ""] = language.split("-");
  return code === "zh" ? "zh" : ["ja", "ko", "th"].includes(code) ? "char" : "13a";
}

type State = RunState<TranslationRecord, TranslatorSnapshot>;

interface Run {
  readonly path: string;
  readonly options: TranslateCommandOptions;
  readonly recipe: Recipe;
  readonly blocks: readonly Block[];
  readonly instruction: string;
  readonly prompt: TranslationPrompt;
  readonly work: TranslateOptions;
  readonly tokenizer: BleuTokenizer;
  readonly modelFiles: ModelFiles;
  readonly terminal: Terminal;
  readonly records: RecordSink;
  readonly state: State;
  readonly io: Io;
}

async function run(path: string, options: TranslateCommandOptions, io: Io): Promise<void> {
  const { src, tgt, context, baseline, templora, trainOn, seed, checkpointLayers } = options;
  if (!templora && !baseline)
    throw new BadInputError(
      "--no-templora and --no-baseline together leave nothing to translate with; give one of them",
    );
  const recipe = resolveRecipe(options);
  const instruction = options.instruction ?? instructionFor(src, tgt);
  const given = { src, tgt, context, ...(options.maxPairs !== undefined && { most: options.maxPairs }) };
  const blocks = blocksOf(await readJson(path, MOST_BYTES), path, given);
  await using modelFiles = await openModel(options, io);
  const { tokenizer, config } = modelFiles;
  checkCheckpointLayers(options, config.num_hidden_layers);
  const parsing = { parseSpecial: options.special === true };
  const prompt = new TranslationPrompt(tokenizer, instruction, parsing);
  const { maxNewTokens, repetitionPenalty } = options;
  longestOf(prompt, blocks, { newTokens: maxNewTokens, own: trainOn === "self" }, config);
  using terminal = openTerminal(options, io);
  assertDistinct(
    { "--json": options.json, "--state": options.state },
    { pairs: path, "--model": modelFiles.source },
  );
  using records = await openRecords(options.json, io, terminal);
  const computed = { recipe, seed, trainOn, baseline, templora, maxNewTokens, repetitionPenalty };
  const parts = { ...computed, texts: hash(JSON.stringify(blocks)), ids: idsOf(prompt, blocks, tokenizer) };
  await using state: State = await openState("translate", parts, modelFiles, options, terminal, io);
  await using device = await openChosenDevice(options, terminal);
  const work = { ...computed, checkpointLayers };
  await assertTranslationFits(device, modelFiles, prompt, blocks, work);
  const bleu = options.bleuTokenizer ?? tokenizerOf(tgt);
  const run = {
    ...{ path, options, recipe, blocks, instruction, prompt, work, tokenizer: bleu },
    ...{ modelFiles, terminal, records, state, io },
  };
  await keeping([records.file], terminal, () => translateAll(run, device));
  await state.discard((line) => terminal.note(line));
}

async function translateAll(run: Run, device: Device): Promise<void> {
  const { path, options, recipe, blocks, prompt, work, modelFiles, terminal, records, state, io } = run;
  const { src, tgt, context, trainOn, templora } = options;
  using model = await loadModel(modelFiles, device, terminal, io, () => undefined);
  records.write({
    ...configRecord("translate", options, device, recipe, null),
    ...{ src, tgt, context, instruction: run.instruction, chat: modelFiles.tokenizer.hasChatTemplate },
    ...{ train_on: templora ? trainOn : "none", max_new_tokens: work.maxNewTokens },
    ...{ repetition_penalty: work.repetitionPenalty },
    ...{ bleu: bleuSignature(run.tokenizer), chrf: chrfSignature },
    ...(options.special === true && { special: true }),
    ...resumedUnder(state, device, terminal),
  });
  const steps = stepsOf(blocks, templora && trainOn !== "none");
  const lines = steps.filter(({ type }) => type === "line").length;
  const about = `${src} → ${tgt}, lines: ${count(lines)}, blocks: ${count(blocks.length)}`;
  terminal.result(`${terminal.style(path, "bold")}: ${about}\n`);
  const found: TranslationRecord[] = [];
  const take = (record: TranslationRecord): void => {
    found.push(record);
    records.write({ ...record, text: path });
    terminal.result(record.type === "line" ? shown(record, options) : updated(record));
  };
  const keeper = state.keeper(0, (line) => terminal.note(line));
  keeper.earlier?.records.forEach(take);
  const [began, before] = [performance.now(), found.length];
  for await (const record of translateBlocks(model, prompt, blocks, { ...work, signal: io.signal, keeper })) {
    take(record);
    const seconds = (performance.now() - began) / 1000;
    const left = duration((seconds * (steps.length - found.length)) / (found.length - before));
    const figures = `step ${found.length}/${steps.length}, ${left} left`;
    terminal.progress({ label: path, fraction: found.length / steps.length, figures });
  }
  throwIfKept(state, io, terminal);
  terminal.endProgress();
  report(found, lines, device, run);
}

/** What a step shows: a line with its translations. Control characters would steer the terminal. */
function shown(r: LineRecord, { src, tgt }: TranslateCommandOptions): string {
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
  return `${figures.join(", ")}\n${rows.map(([name, text]) => `  ${cells([name], [7])}  ${text?.replaceAll(/\p{Cc}/gu, "\ufffd")}\n`).join("")}`;
}

function updated({
  block,
  lr,
  train_loss,
  seconds,
  skipped_steps: n,
}: Exclude<TranslationRecord, LineRecord>): string {
  const losses = train_loss.map((loss) => loss.toFixed(3)).join(" → ");
  const skipped = n > 0 ? `, ${n} optimiser step(s) skipped, their gradients were not finite` : "";
  return `update after block ${block}: lr ${lr.toExponential(1)}, training loss ${losses}${skipped}, ${seconds.train.toFixed(1)} s\n`;
}

/** The closing table: all lines, then part by part. */
function report(found: readonly TranslationRecord[], lines: number, device: Device, run: Run): void {
  const { path, options, tokenizer, terminal, records } = run;
  const { baseline, templora, trainOn } = options;
  const supervised = templora && trainOn === "gold";
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
