/** A model's configuration as GGUF metadata has it (https://github.com/ggml-org/ggml/blob/master/docs/gguf.md). */
import { type ModelConfig, asTokenId } from "./config.ts";
import { type FieldName, Fields, type RopeFields, type Sizes } from "./fields.ts";
import type { GgufValue } from "./gguf.ts";
import { type LinearName, linearNames, linearTensors } from "./layers.ts";
import type { RopeConfig, RopeScaling } from "./rope.ts";
import { ggufRopeScaling } from "./rope_config.ts";

/** The part of the configuration that a GGUF file tells by its tensors. */
export interface GgufFacts {
  /** The file has a tensor of this name. */
  has(name: string): boolean;
  /** the contents of rope_freqs.weight */
  readonly ropeDivisors?: readonly number[];
}

export class GgufFields extends Fields {
  readonly kind = "GGUF";
  readonly #metadata: ReadonlyMap<string, GgufValue>;
  readonly #architecture: string;
  readonly #facts: GgufFacts;

  constructor(
    metadata: ReadonlyMap<string, GgufValue>,
    architecture: string,
    facts: GgufFacts,
    where: string,
  ) {
    super(where);
    this.#metadata = metadata;
    this.#architecture = architecture;
    this.#facts = facts;
  }

  protected keyOf([, gguf]: FieldName): string | null {
    return gguf === null ? null : `${this.#architecture}.${gguf}`;
  }

  protected lookUp(key: string): unknown {
    return this.#metadata.get(key);
  }

  protected vocabSize(): number {
    const tokens = this.#metadata.get("tokenizer.ggml.tokens");
    return this.size(
      [null, "vocab_size"],
      Array.isArray(tokens) && tokens.length > 0 ? tokens.length : undefined,
    );
  }

  protected tied(): boolean {
    return !this.#facts.has("output.weight");
  }

  protected specialIds(): Pick<ModelConfig, "bos_token_id" | "eos_token_ids"> {
    const ids = (...names: string[]): number[] => {
      const keys = names
        .map((name) => `tokenizer.ggml.${name}_token_id`)
        .filter((key) => this.#metadata.has(key));
      return [...new Set(keys.map((key) => asTokenId(this.#metadata.get(key), `${this.where}: ${key}`)))];
    };
    return { bos_token_id: ids("bos")[0] ?? null, eos_token_ids: ids("eos", "eot", "eom") };
  }

  biases(): LinearName[] {
    return linearNames.filter((name) => this.#facts.has(`blk.0.${linearTensors[name][1]}.bias`));
  }

  rope(sizes: Sizes, { theta, otherwise, unscaled }: RopeFields): RopeConfig {
    const { head_dim, max_position_embeddings: positions } = sizes;
    const { ropeDivisors } = this.#facts;
    const scaling = (): RopeScaling | null =>
      ggufRopeScaling(this.#architecture, this.#metadata, ropeDivisors, head_dim, positions, this.where);
    return {
      head_dim,
      rope_theta: this.positive(theta, otherwise),
      rope_scaling: unscaled ? null : scaling(),
    };
  }
}
