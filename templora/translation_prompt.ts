/**
 * What a model reads before it translates a line: the instruction, the source lines so far and the line itself as a user's turn, and the
 * translations of the lines before as the beginning of the answer. A base model, which has no chat template, gets the same as plain text.
 * Terms of a glossary that occur in the source lines stand below the instruction.
 * Lines are encoded one by one, so that a line has the same ids in every prompt and in training.
 */
import { BadInputError } from "../engine/errors.ts";
import type { Steps } from "../engine/turns.ts";
import type { ModelConfig } from "../model/config.ts";
import type { EncodeOptions, Tokenizer } from "../model/tokenizer.ts";
import type { Sequence } from "./chunks.ts";
import type { Glossary } from "./glossary.ts";
import type { Block, Pair } from "./pairs.ts";

/** The paper's, for its pair of languages. */
const PAPER = { src: "zh", tgt: "en", instruction: "请将下面的文本翻译成英文。" };

/** What a model is told to do: the paper's words, for other pairs the like in English. */
export function instructionFor(src: string, tgt: string): string {
  if (src === PAPER.src && tgt === PAPER.tgt) return PAPER.instruction;
  const language = languageName(tgt);
  if (language !== undefined) return `Translate the text below into ${language}.`;
  throw new BadInputError(
    `${tgt}: not the code of a language, so that the instruction cannot be made of it: give one (--instruction)`,
  );
}

/** A language's name in English; undefined where the code is none. */
export function languageName(code: string): string | undefined {
  try {
    return new Intl.DisplayNames(["en"], { type: "language", fallback: "none" }).of(code);
  } catch (error) {
    if (error instanceof RangeError) return undefined;
    throw error;
  }
}

/** Stands for an answer, to find out what a template puts behind one. */
const ANSWER = "\ue000";

export class TranslationPrompt {
  readonly #tokenizer: Tokenizer;
  readonly #instruction: string;
  readonly #parsing: EncodeOptions;
  readonly #glossary: Glossary | null;
  /** What ends the last line of an answer. */
  readonly #end: readonly number[];

  constructor(
    tokenizer: Tokenizer,
    instruction: string,
    { parseSpecial = false }: EncodeOptions = {},
    glossary: Glossary | null = null,
  ) {
    this.#tokenizer = tokenizer;
    this.#glossary = glossary;
    this.#instruction = instruction;
    this.#parsing = { special: false, parseSpecial };
    this.#end = tokenizer.hasChatTemplate ? this.#endOfTurn() : tokenizer.encode("\n", this.#parsing);
  }

  #endOfTurn(): number[] {
    const messages = [
      { role: "user", content: this.#instruction },
      { role: "assistant", content: ANSWER },
    ];
    const text = this.#tokenizer.chatText(messages, { addGenerationPrompt: false });
    const answered = text.lastIndexOf(ANSWER);
    if (answered < 0)
      throw new BadInputError(
        "the model's chat template leaves an assistant's turn out, so that nobody can tell what ends one",
      );
    const end = text.slice(answered + ANSWER.length).trim();
    return this.#tokenizer.encode(end, { special: false, parseSpecial: true });
  }

  /** Ids of a translation, which a prompt is followed by. */
  line(text: string): number[] {
    return this.#tokenizer.encode(text, this.#parsing);
  }

  /** The ids before the translation of a block's line `index`. */
  before({ context, pairs }: Block, index: number): Int32Array {
    const earlier = [...context, ...pairs.slice(0, index)];
    return Int32Array.from(this.#prompt([...earlier, ...pairs.slice(index, index + 1)], earlier));
  }

  /** A block to train on: after its context, the `translations` of all its lines, one after the other, as far as `most` tokens go. */
  training({ context, pairs }: Block, translations: readonly string[], most = Infinity): Sequence {
    const prompt = this.#prompt([...context, ...pairs], context);
    const last = translations.length - 1;
    const answer = translations
      .flatMap((text, i) => (i < last ? this.line(`${text}\n`) : [...this.line(text), ...this.#end]))
      .slice(0, most - prompt.length + 1);
    return {
      ...{ start: 0, from: prompt.length - 1, context: prompt.length },
      inputs: Int32Array.from([...prompt, ...answer.slice(0, -1)]),
      targets: Int32Array.from(answer),
    };
  }

  get hasGlossary(): boolean {
    return this.#glossary !== null;
  }

  /** Asks for the translations of `asked`, of which those of `answered` are given. */
  #prompt(asked: readonly Pair[], answered: readonly Pair[]): number[] {
    const sources = asked.map(({ source }) => source);
    const content = [this.#instruction, ...(this.#glossary?.linesFor(sources) ?? []), ...sources].join("\n");
    const { parseSpecial = false } = this.#parsing;
    const question = this.#tokenizer.hasChatTemplate
      ? this.#tokenizer.chat([{ role: "user", content }], { parseSpecial })
      : this.#tokenizer.encode(`${content}\n\n`, { parseSpecial });
    if (question.length === 0)
      throw new BadInputError("the model's chat template makes no token of a prompt");
    return [...question, ...answered.flatMap(({ target }) => this.line(`${target}\n`))];
  }
}

/** Tokens of the longest texts that the blocks of a file make. */
export interface Longest {
  /** A prompt with a translation behind it. */
  readonly read: number;
  /** A block that is trained on. */
  readonly trained: number;
}

/** Throws BadInputError where the model's positions do not hold one. `own`: blocks are trained on translations of any length. */
export function* longestOf(
  prompt: TranslationPrompt,
  blocks: readonly Block[],
  { newTokens, own }: { readonly newTokens: number; readonly own: boolean },
  { max_position_embeddings: positions }: ModelConfig,
): Steps<Longest> {
  let [read, trained] = [0, 0];
  for (const [i, block] of blocks.entries()) {
    const answers = block.pairs.map(({ target }) => target);
    const room = Math.max(newTokens, ...answers.map((text) => prompt.line(text).length));
    read = Math.max(read, prompt.before(block, block.pairs.length - 1).length + room);
    trained = Math.max(trained, prompt.training(block, answers).inputs.length);
    const most = Math.max(read, trained);
    if (most > positions) {
      const less = [
        ...(block.context.length > 0 ? ["--context none"] : []),
        ...(room === newTokens ? ["fewer --max-new-tokens"] : []),
      ];
      throw new BadInputError(
        `block ${i}: its lines, those before them and ${room} ${room === newTokens ? "new tokens" : "tokens of a reference"} ` +
          `take ${most} positions, the model has ${positions}` +
          (less.length > 0 ? `; ${less.join(" or ")} would take less` : ""),
      );
    }
    yield;
  }
  return { read, trained: own ? positions : trained };
}
