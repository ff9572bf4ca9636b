/**
 * A text without references as a translator's material: a prompt holds the paragraphs before and what they were translated to, the last of
 * them that a window of tokens has room for, and all of the block. So does what the adapter is trained on.
 */
import { type Steps, atOnce } from "../engine/turns.ts";
import { at } from "../kernels/base/at.ts";
import { BadInputError } from "../engine/errors.ts";
import type { ModelConfig } from "../model/config.ts";
import type { Sequence } from "./chunks.ts";
import type { LinePlace, Material, TranslatedLine } from "./material.ts";
import type { Pair } from "./pairs.ts";
import type { Spent } from "./records.ts";
import type { Longest, TranslationPrompt } from "./translation_prompt.ts";

/** A paragraph, or a piece of a long one. */
export interface TextPiece {
  /** Of all paragraphs. */
  readonly paragraph: number;
  /** Of the pieces of its paragraph. */
  readonly part: number;
  readonly source: string;
}

/** A piece that was translated. */
export interface ParagraphRecord extends Spent {
  readonly type: "paragraph";
  readonly index: number;
  readonly part: number;
  readonly block: number;
  readonly source: string;
  readonly translation: string;
  /** Tokens of the prompt, and of the translation. */
  readonly context: number;
  readonly tokens: number;
  /** The translation was longer than it may be: its end is missing. */
  readonly cut: boolean;
}

export interface TextMaterialOptions {
  /** Tokens of a translation at most. */
  readonly newTokens: number;
  /** Tokens of the source in a block, at most, if that is not one piece. */
  readonly chunk: number;
  /** Tokens of earlier blocks' paragraphs and their translations, at most. */
  readonly window: number;
}

/** How many times as many tokens as its source a translation may have; where a block's have more, the context has fewer. */
export const LONGER = 3;

/** A text in blocks. */
export interface Divided extends Pick<Material<ParagraphRecord>, "blocks" | "longest"> {
  /** Index of each block's first piece, and one past the last. */
  readonly bounds: readonly number[];
  /** Tokens of a block's translations that are trained on, at most. */
  readonly answers: number;
}

/** Throws BadInputError where the model's positions do not hold a block and a translation. */
export function* divide(
  prompt: TranslationPrompt,
  pieces: readonly TextPiece[],
  { newTokens, chunk, window }: TextMaterialOptions,
  { max_position_embeddings: positions }: ModelConfig,
): Steps<Divided> {
  const begins: number[] = [];
  const tokens: number[] = []; // of each block
  for (const [i, { source }] of pieces.entries()) {
    const needed = prompt.line(`${source}\n`).length;
    const taken = tokens.at(-1) ?? Infinity;
    if (taken + needed > chunk) {
      begins.push(i);
      tokens.push(needed);
    } else tokens[tokens.length - 1] = taken + needed;
    yield;
  }
  const bounds = [...begins, pieces.length];
  const blocks = begins.map((from, block) =>
    pieces.slice(from, bounds[block + 1]).map(({ source }) => source),
  );
  let alone = 0;
  for (const [block, sources] of blocks.entries()) {
    const pairs = sources.map((source) => ({ source, target: "" }));
    const { length } = prompt.before({ context: [], pairs }, pairs.length - 1);
    if (length + newTokens > positions)
      throw new BadInputError(
        `block ${block}: its paragraphs and ${newTokens} new tokens take ${length + newTokens} positions, ` +
          `the model has ${positions}; a smaller --chunk, fewer --max-new-tokens${prompt.hasGlossary ? " or shorter terms in the glossary" : ""} would take less`,
      );
    alone = Math.max(alone, length);
    yield;
  }
  const answers = LONGER * tokens.reduce((most, each) => Math.max(most, each), 0);
  const most = alone + answers + window;
  const longest = { read: Math.min(positions, most + newTokens), trained: Math.min(positions, most) };
  return { bounds, blocks, answers, longest };
}

export class TextMaterial implements Material<ParagraphRecord> {
  readonly blocks: readonly (readonly string[])[];
  readonly longest: Longest;
  readonly #prompt: TranslationPrompt;
  readonly #pieces: readonly TextPiece[];
  /** Index of each block's first piece, and one past the last. */
  readonly #bounds: readonly number[];
  readonly #options: TextMaterialOptions;
  /** Tokens of a block's translations that are trained on, at most. */
  readonly #answers: number;

  /** `divided`: what `divide` makes of the others, which takes seconds of a long text. */
  constructor(
    prompt: TranslationPrompt,
    pieces: readonly TextPiece[],
    options: TextMaterialOptions,
    config: ModelConfig,
    divided: Divided = atOnce(divide(prompt, pieces, options, config)),
  ) {
    this.#prompt = prompt;
    this.#pieces = pieces;
    this.#options = options;
    this.#bounds = divided.bounds;
    this.blocks = divided.blocks;
    this.#answers = divided.answers;
    this.longest = divided.longest;
  }

  reference(): null {
    return null;
  }

  before({ block, line }: LinePlace, said: readonly string[]): Int32Array {
    const begin = at(this.#bounds, block);
    const context = [...this.#context(begin, said), ...this.#told(begin, begin + line, said)];
    const pairs = [{ source: at(this.#pieces, begin + line).source, target: "" }];
    for (;;) {
      const ids = this.#prompt.before({ context, pairs }, 0);
      if (context.length === 0 || ids.length + this.#options.newTokens <= this.longest.read) return ids;
      context.shift();
    }
  }

  training(block: number, said: readonly string[]): Sequence {
    const [begin, end] = [at(this.#bounds, block), at(this.#bounds, block + 1)];
    const context = this.#context(begin, said);
    const pairs = this.#told(begin, end, said);
    const { trained } = this.longest;
    const sequence = (most?: number): Sequence =>
      this.#prompt.training({ context, pairs }, pairs.map(({ target }) => target), most); // prettier-ignore
    let whole = sequence();
    while (context.length > 0 && whole.inputs.length > trained) {
      context.shift();
      whole = sequence();
    }
    return sequence(Math.min(trained, whole.context + this.#answers - 1));
  }

  /** Pieces [from, to) with their translations; one that came out empty would teach to write nothing. */
  #told(from: number, to: number, said: readonly string[]): Pair[] {
    return this.#pieces
      .slice(from, to)
      .map(({ source }, i) => ({ source, target: at(said, from + i) }))
      .filter(({ target }) => target !== "");
  }

  /** The last of the pieces before `begin` that the window holds. */
  #context(begin: number, said: readonly string[]): Pair[] {
    let room = this.#options.window;
    const tokens = ({ source, target }: Pair): number =>
      this.#prompt.line(`${source}\n`).length + this.#prompt.line(`${target}\n`).length;
    const earlier = this.#told(0, begin, said);
    const left = earlier.findLastIndex((pair) => (room -= tokens(pair)) < 0);
    return earlier.slice(left + 1);
  }

  record({ index, block, context, base, lora, flops, bytes, seconds }: TranslatedLine): ParagraphRecord {
    const { paragraph, part, source } = at(this.#pieces, index);
    const { text: translation, tokens, cut } = lora ?? base ?? { text: "", tokens: 0, cut: false };
    return {
      ...{ type: "paragraph", index: paragraph, part, block, source, translation },
      ...{ context, tokens, cut, flops, bytes, seconds },
    };
  }

  /** Prompts and blocks of the most tokens that there may be, whichever they are. */
  largest(): Material<ParagraphRecord> {
    const { read, trained } = this.longest;
    const inputs = new Int32Array(trained);
    const from = Math.max(0, trained - this.#answers);
    return {
      blocks: this.blocks.slice(0, 2).map(() => [""]),
      longest: this.longest,
      reference: () => null,
      before: () => new Int32Array(read - this.#options.newTokens),
      training: () => ({ start: 0, from, context: from + 1, inputs, targets: inputs.subarray(from) }),
      record: (line) => this.record({ ...line, index: 0 }),
      largest: () => this.largest(),
    };
  }
}
