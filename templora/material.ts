/**
 * What is to be translated: source lines in blocks, the prompt before each line, and what the adapter is trained on after each block.
 * pair_material.ts has lines with references, text_material.ts a text without.
 */
import type { Sequence } from "./chunks.ts";
import type { Written } from "./prompt_reader.ts";
import type { Spent } from "./records.ts";
import type { Longest } from "./translation_prompt.ts";

export interface Material<R> {
  /** The source lines, block by block. */
  readonly blocks: readonly (readonly string[])[];
  readonly longest: Longest;
  /** The ids of a line's reference; null where there is none. */
  reference(place: LinePlace): Int32Array | null;
  /** The ids before the translation of a line. `said`: the translations so far. */
  before(place: LinePlace, said: readonly string[]): Int32Array;
  /** A block to train on, of which all lines are translated. */
  training(block: number, said: readonly string[]): Sequence;
  record(line: TranslatedLine): R;
  /** Material of which two blocks take as much memory as any two of this one. */
  largest(): Material<R>;
}

export interface LinePlace {
  readonly block: number;
  readonly line: number;
}

/** What one of the models made of a line. */
export interface Side extends Written {
  /** Sum over the reference, nats; null without one. */
  readonly nll: number | null;
}

export interface TranslatedLine extends LinePlace, Spent {
  /** Of all lines. */
  readonly index: number;
  /** Tokens of the prompt. */
  readonly context: number;
  readonly base: Side | null;
  readonly lora: Side | null;
}
