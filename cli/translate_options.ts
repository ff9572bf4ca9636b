/** The flags of `templora translate`: those of any run, those of pairs, and those of a text. */
import { type Command, Option } from "commander";
import { BadInputError } from "../engine/errors.ts";
import { type BleuTokenizer, tokenizers } from "../templora/metrics/tokenizers.ts";
import { type PairOptions, contexts } from "../templora/pairs.ts";
import { type ParagraphEnd, paragraphEnds } from "../templora/paragraphs.ts";
import {
  MAX_NEW_TOKENS,
  REPETITION_PENALTY,
  type TranslateOptions,
  trainingTexts,
} from "../templora/translate.ts";
import {
  type CommonOptions,
  type LearningOptions,
  type StateOptions,
  type TextOptions,
  addCommonOptions,
  addLearningOptions,
  addStateOptions,
  specialOption,
} from "./options.ts";
import { choice, numeric } from "./parsers.ts";

/** Ours was found on books that are read; for translation nothing better than the paper's was measured. */
export const TRANSLATION_RECIPE = "paper";

/** As commander delivers them: undefined = not given. */
export interface TranslateCommandOptions
  extends CommonOptions, TextOptions, LearningOptions, StateOptions, Omit<PairOptions, "most" | "context"> {
  readonly instruction?: string;
  readonly maxNewTokens?: number;
  readonly repetitionPenalty: number;
  readonly trainOn?: TranslateOptions["trainOn"];
  readonly context?: PairOptions["context"];
  readonly maxPairs?: number;
  readonly bleuTokenizer?: BleuTokenizer;
  readonly baseline: boolean;
  readonly out?: string;
  readonly glossary?: string;
  readonly paragraphs?: ParagraphEnd;
  readonly maxParagraphs?: number;
  readonly chunk?: number;
  readonly window?: number;
}

/** With the instruction that is given, or follows from the languages. */
export type ChosenOptions = TranslateCommandOptions & { readonly instruction: string };

/** Flags that one kind of input alone has a use for. */
const only = {
  pairs: ["context", "maxPairs", "bleuTokenizer", "baseline"],
  text: ["out", "glossary", "paragraphs", "maxParagraphs", "chunk", "window"],
} as const satisfies Record<string, readonly (keyof TranslateCommandOptions)[]>;

/** What a text's chunk, window and translations are in tokens where they are not given. */
export const textTokens = (positions: number): number => Math.min(512, Math.floor(positions / 4));

export function addTranslateOptions(command: Command): Command {
  const integer = true;
  addCommonOptions(command)
    .optionsGroup("Pairs and texts:")
    .option("--src <language>", "the language translated from; the key of a pair's line", "zh")
    .option("--tgt <language>", "the language translated to; the key of a pair's reference", "en")
    .option(
      "--instruction <text>",
      "what the model is told to do (default: the paper's for zh to en, else made of --tgt)",
    )
    .option(...specialOption)
    .addOption(
      numeric(
        "--max-new-tokens <n>",
        `tokens of a translation at most (default: the paper's ${MAX_NEW_TOKENS}; of a text 512, or a quarter of the model's positions where they are few)`,
        { integer, min: 1 },
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
    .optionsGroup("Pairs (PAIRS.json) only:")
    .addOption(
      new Option(
        "--context <name>",
        "pairs before a block: those of one block (k1), of three (k3), or none (default: k1)",
      ).argParser(choice("--context", contexts)),
    )
    .addOption(
      numeric("--max-pairs <n>", "translate at most so many lines (default: all)", { integer, min: 1 }),
    )
    .addOption(
      new Option(
        "--bleu-tokenizer <name>",
        `sacrebleu's: ${Object.keys(tokenizers).join(", ")} (default: zh for zh, char for ja, ko and th, else 13a)`,
      ).argParser(bleuTokenizer),
    )
    .option("--no-baseline", "the adapted model only")
    .optionsGroup("A text (any other file) only:")
    .option("--out <file>", "write the translation to a file, too, which grows as FILE.part until the end")
    .option(
      "--glossary <file>",
      "how terms are to be translated: lines of a term, a tab and its translation; # begins a comment",
    )
    .addOption(
      new Option(
        "--paragraphs <end>",
        "what ends a paragraph: a blank line (blank), or every line break (line) (default: blank where the text has blank lines)",
      ).argParser(choice("--paragraphs", paragraphEnds)),
    )
    .addOption(
      numeric("--max-paragraphs <n>", "translate at most so many (default: all)", { integer, min: 1 }),
    )
    .addOption(
      numeric(
        "--chunk <tokens>",
        "tokens of the text between two updates of the adapter, in whole paragraphs (default: the value of --max-new-tokens)",
        { integer, min: 1 },
      ),
    )
    .addOption(
      numeric(
        "--window <tokens>",
        "tokens of paragraphs and their translations that stay before a chunk (default: the value of --max-new-tokens)",
        { integer, min: 0 },
      ),
    )
    .optionsGroup("Temp-LoRA:")
    .addOption(
      new Option(
        "--train-on <text>",
        "after each block: gold, the references (the paper's; BLEU is then that of online supervision), self, what the adapted model wrote, " +
          "or none (default: gold; of a text self)",
      ).argParser(choice("--train-on", trainingTexts)),
    );
  return addStateOptions(addLearningOptions(command, TRANSLATION_RECIPE));
}

function bleuTokenizer(name: string): BleuTokenizer {
  if (/^(ja|ko)-mecab$/.test(name))
    throw new BadInputError(`--bleu-tokenizer ${name}: it needs MeCab and its dictionary; take char`);
  return choice("--bleu-tokenizer", Object.keys(tokenizers) as BleuTokenizer[])(name);
}

/** Throws for a flag of the other kind of input. */
export function checkKind(kind: keyof typeof only, path: string, command: Command): void {
  const [other, what] = kind === "pairs" ? (["text", "a text"] as const) : (["pairs", "pairs"] as const);
  const given = only[other].find((name) => command.getOptionValueSource(name) === "cli");
  const flag = command.options.find((option) => option.attributeName() === given)?.long;
  const why =
    kind === "pairs"
      ? "holds pairs, since its name ends in .json"
      : "is a text, since its name does not end in .json";
  if (flag !== undefined && flag !== null) throw new BadInputError(`${flag} is for ${what}; ${path} ${why}`);
}
