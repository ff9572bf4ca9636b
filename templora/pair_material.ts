/** Pairs as a translator's material: the prompts hold references, of the lines before and of earlier blocks. */
import { atOnce } from "../engine/turns.ts";
import { at } from "../kernels/base/at.ts";
import type { ModelConfig } from "../model/config.ts";
import type { Sequence } from "./chunks.ts";
import type { LinePlace, Material, TranslatedLine } from "./material.ts";
import type { Block, Pair } from "./pairs.ts";
import type { Spent } from "./records.ts";
import { type Longest, type TranslationPrompt, longestOf } from "./translation_prompt.ts";

/** A line that was scored and translated. */
export interface LineRecord extends Spent {
  readonly type: "line";
  /** Of all lines. */
  readonly index: number;
  readonly block: number;
  readonly source: string;
  readonly reference: string;
  /** Tokens of the prompt, and of the reference: those scored. */
  readonly context: number;
  readonly tokens: number;
  /** Sums over the reference, nats; null where it was not computed. */
  readonly base_nll: number | null;
  readonly lora_nll: number | null;
  readonly base_translation: string | null;
  readonly lora_translation: string | null;
}

interface PairMaterialOptions {
  readonly newTokens: number;
  /** Trained on what the adapted model wrote, not on the references. */
  readonly own: boolean;
}

export class PairMaterial implements Material<LineRecord> {
  readonly blocks: readonly (readonly string[])[];
  readonly longest: Longest;
  readonly #prompt: TranslationPrompt;
  readonly #blocks: readonly Block[];
  readonly #options: PairMaterialOptions;
  readonly #config: ModelConfig;

  /** `longest`: what `longestOf` finds out of the others, which takes its time with many pairs. */
  constructor(
    prompt: TranslationPrompt,
    blocks: readonly Block[],
    options: PairMaterialOptions,
    config: ModelConfig,
    longest: Longest = atOnce(longestOf(prompt, blocks, options, config)),
  ) {
    this.longest = longest;
    this.blocks = blocks.map(({ pairs }) => pairs.map(({ source }) => source));
    this.#prompt = prompt;
    this.#blocks = blocks;
    this.#options = options;
    this.#config = config;
  }

  #pair({ block, line }: LinePlace): Pair {
    return at(at(this.#blocks, block).pairs, line);
  }

  reference(place: LinePlace): Int32Array {
    return Int32Array.from(this.#prompt.line(this.#pair(place).target));
  }

  before({ block, line }: LinePlace): Int32Array {
    return this.#prompt.before(at(this.#blocks, block), line);
  }

  training(index: number, said: readonly string[]): Sequence {
    const block = at(this.#blocks, index);
    const { pairs } = block;
    const lines = this.#options.own ? said.slice(-pairs.length) : pairs.map(({ target }) => target);
    return this.#prompt.training(block, lines, this.longest.trained);
  }

  record({ index, block, line, context, base, lora, flops, bytes, seconds }: TranslatedLine): LineRecord {
    const { source, target: reference } = this.#pair({ block, line });
    return {
      ...{ type: "line", index, block, source, reference },
      ...{ context, tokens: this.#prompt.line(reference).length },
      ...{ base_nll: base?.nll ?? null, lora_nll: lora?.nll ?? null },
      ...{ base_translation: base?.text ?? null, lora_translation: lora?.text ?? null },
      ...{ flops, bytes, seconds },
    };
  }

  /** The block with the longest prompt, trained on its references. */
  largest(): PairMaterial {
    const lengths = this.#blocks.map((block) => this.#prompt.before(block, block.pairs.length - 1).length);
    const longest = at(this.#blocks, lengths.indexOf(Math.max(...lengths)));
    const two = this.#blocks.slice(0, 2).map(() => longest);
    return new PairMaterial(this.#prompt, two, { ...this.#options, own: false }, this.#config);
  }
}
