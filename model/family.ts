/**
 * What a family of models is: how its files are read, which tensors it has, and what each of its layers computes — as data. One
 * forward pass (llama.ts) serves all. Adding a family: a file in families/ and a line in families/index.ts.
 */
import type { ModelConfig } from "./config.ts";
import type { GgufValue } from "./gguf.ts";
import type { LinearName } from "./layers.ts";
import type { RopeConfig } from "./rope.ts";
import type { Untrusted } from "./untrusted.ts";

/** The vectors of a block: gains of its norms. */
export type GainName = "input_layernorm" | "post_attention_layernorm";
export type LayerTensorName = LinearName | GainName;

/** How a tensor's rows in a GGUF file become Hugging Face's. */
export type GgufTransform =
  /** heads whose neighbouring rows RoPE turns together: here the two are half a head apart */
  { readonly type: "half_split"; readonly heads: number };

/** A tensor of the model: its name in Hugging Face's files and in GGUF, and its shape, [out, in] for a matrix. */
export interface TensorSpec {
  readonly name: string;
  readonly gguf: string;
  readonly shape: readonly number[];
  readonly fromGguf?: GgufTransform;
}

/** What a layer computes, beside the sizes that all layers share. */
export interface LayerFacts {
  /** Rotation of queries and keys by position; null = none. */
  readonly rope: RopeConfig | null;
  /** Last keys that a query sees, its own included; 0 = all before it. */
  readonly window: number;
  /** Queries · keys are multiplied by this. */
  readonly attention_scale: number;
}

/** What of a GGUF file's configuration is not in its metadata, but told by its tensors. */
export interface GgufFacts {
  /** no output.weight */
  readonly tied: boolean;
  /** the contents of rope_freqs.weight */
  readonly ropeDivisors?: readonly number[];
}

export interface Family {
  /** model_type in config.json, and general.architecture in GGUF. */
  readonly model_type: string;
  readonly architecture: string;
  /** From config.json; refuses what would make the model compute something else. `where` is the file, for messages. */
  fromConfig(fields: Untrusted, where: string): ModelConfig;
  /** From GGUF metadata. */
  fromGguf(metadata: ReadonlyMap<string, GgufValue>, facts: GgufFacts, where: string): ModelConfig;
  /** Outside the blocks. */
  tensors(config: ModelConfig): Readonly<Record<"embed_tokens" | "norm" | "lm_head", TensorSpec>>;
  /** Of block `layer`. */
  layerTensors(config: ModelConfig, layer: number): Readonly<Record<LayerTensorName, TensorSpec>>;
  layer(config: ModelConfig, layer: number): LayerFacts;
}
