/** A model's configuration as GGUF metadata has it (https://github.com/ggml-org/ggml/blob/master/docs/gguf.md). */
import { type ModelConfig, asTokenId } from "./config.ts";
import { Fields, type RopeFields, type Sizes } from "./fields.ts";
import type { GgufValue } from "./gguf.ts";
import type { FieldName } from "./keys.ts";
import { type LinearName, linearNames, linearTensors } from "./layers.ts";
import type { RopeConfig, RopeScaling } from "./rope.ts";
import { type RopeTensors, ggufRopeScaling, turning } from "./rope_config.ts";

/** The part of the configuration that a GGUF file tells by its tensors. */
export interface GgufFacts {
  /** The file has a tensor of this name. */
  has(name: string): boolean;
  readonly rope?: RopeTensors;
}

export class GgufFields extends Fields {
  readonly kind = "GGUF";
  readonly #metadata: ReadonlyMap<string, GgufValue>;
  readonly #facts: GgufFacts;

  constructor(
    metadata: ReadonlyMap<string, GgufValue>,
    architecture: string,
    facts: GgufFacts,
    where: string,
  ) {
    const source = {
      nameOf: ([, gguf]: FieldName) => gguf && `${architecture}.${gguf}`,
      lookUp: (key: string) => metadata.get(key),
      present: () => metadata.keys(),
      spell: (key: string) => `${where}: ${key}`,
      // the architecture's keys are there for the model alone
      concerns: (key: string) => key.startsWith(`${architecture}.`),
    };
    super(source, where);
    this.#metadata = metadata;
    this.#facts = facts;
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

  rope(
    { head_dim, max_position_embeddings }: Sizes,
    { theta, unscaled, partial = false }: RopeFields,
  ): RopeConfig {
    const part = [null, "rope.dimension_count"] as const;
    if (!partial) this.only(part, [head_dim], `heads of one width, here ${head_dim}`);
    const rotary_dim = this.size(part, head_dim);
    const sizes = { rotary_dim, positions: max_position_embeddings, max_position_embeddings };
    const scaling = (): RopeScaling | null => ggufRopeScaling(this, this.#facts.rope ?? {}, sizes);
    return {
      head_dim,
      ...turning(rotary_dim, head_dim, this.find(part).where),
      rope_theta: this.positive(theta, 10000), // llama.cpp's, whatever the family
      rope_scaling: unscaled ? null : scaling(),
    };
  }
}
