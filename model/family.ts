/**
 * What a family of models is: how its files are read, which tensors it has, and what each of its layers computes — as data. One
 * forward pass (llama.ts) serves all. Adding a family: a file in families/ and a line in families/index.ts.
 */
import type { ModelConfig } from "./config.ts";
import type { Fields } from "./fields.ts";
import { type LinearName, type TensorNames, linearNames, linearTensors } from "./layers.ts";

/** RMSNorms of what attention or the MLP takes, and of what it gives (before that is added to the residual stream). */
export type SublayerNorm = "pre_attention_norm" | "post_attention_norm" | "pre_mlp_norm" | "post_mlp_norm";
export type NormName = SublayerNorm | "q_norm" | "k_norm";
export type BiasName = `${LinearName}.bias`;
export type VectorName = NormName | BiasName;

/** A block's tensors, or something for each of them: all linear layers, and those vectors that its family has. */
export type LayerTensors<T> = Readonly<Record<LinearName, T>> & Readonly<Partial<Record<VectorName, T>>>;

/** A tensor of the model, under the names of Hugging Face's files and of GGUF. */
export interface TensorSpec {
  readonly name: string;
  readonly gguf: string;
  /** [out, in] for a matrix. */
  readonly shape: readonly number[];
  /** Hugging Face's files hold it less 1. */
  readonly lessOne?: boolean;
  /** It is the rows from `from` on of a tensor that holds several linear layers, of this name and shape. */
  readonly within?: Pick<TensorSpec, "name" | "gguf" | "shape"> & { readonly from: number };
  /** The rows are so many heads, in GGUF files with rows that RoPE turns together side by side; here they are half a head apart. */
  readonly interleavedHeads?: number;
}

export interface ModelTensors {
  readonly embed_tokens: TensorSpec;
  readonly norm: TensorSpec;
  /** embed_tokens itself where the two are tied. */
  readonly lm_head: TensorSpec;
  readonly layers: readonly LayerTensors<TensorSpec>[];
}

export interface Family {
  /** model_type in config.json. */
  readonly model_type: string;
  /** general.architecture in GGUF; null where such models bear another family's name there. */
  readonly architecture: string | null;
  /** Norms of a block's sublayers: Hugging Face's name and GGUF's. */
  readonly norms: Readonly<Partial<Record<SublayerNorm, TensorNames>>>;
  /** Gains are stored less 1 in Hugging Face's files (GGUF files hold them whole). */
  readonly gainsLessOne?: boolean;
  /** Linear layers whose weights lie in one tensor of its files, one after the other in the order of `linearNames`. */
  readonly fused?: readonly { readonly names: TensorNames; readonly layers: readonly LinearName[] }[];
  /** GGUF files hold the rows of queries and keys that RoPE turns together side by side (convert_hf_to_gguf.py, LlamaModel.permute). */
  readonly interleavedInGguf?: boolean;
  /** Reads the configuration; refuses what would make the model compute something else. */
  config(fields: Fields): ModelConfig;
}

/** Every tensor of a model of the family. */
export function tensorsOf(family: Family, config: ModelConfig): ModelTensors {
  const { vocab_size: V, hidden_size: D, intermediate_size: F, head_dim: E } = config;
  const [H, G] = [config.num_attention_heads, config.num_key_value_heads];
  const shapes: Readonly<Record<LinearName, readonly [number, number]>> = {
    ...{ q_proj: [H * E, D], k_proj: [G * E, D], v_proj: [G * E, D], o_proj: [D, H * E] },
    ...{ gate_proj: [F, D], up_proj: [F, D], down_proj: [D, F] },
  };
  const gain = ([name, gguf]: TensorNames, size: number): TensorSpec => ({
    ...{ name: `${name}.weight`, gguf: `${gguf}.weight`, shape: [size] },
    ...(family.gainsLessOne && { lessOne: true }),
  });
  const layers = config.layers.map(({ biases, qk_norm }, i): LayerTensors<TensorSpec> => {
    const within = ([name, gguf]: TensorNames): TensorNames => [
      `model.layers.${i}.${name}`,
      `blk.${i}.${gguf}`,
    ];
    const tensors: Partial<Record<LinearName | VectorName, TensorSpec>> = {};
    for (const target of linearNames) {
      const [name, gguf] = within(linearTensors[target]);
      const heads = target === "q_proj" ? H : target === "k_proj" ? G : 0;
      const order = family.interleavedInGguf && heads > 0 ? { interleavedHeads: heads } : {};
      const shape = shapes[target];
      const whole = wholeOf(family, target, shapes, within);
      tensors[target] = { name: `${name}.weight`, gguf: `${gguf}.weight`, shape, ...order, ...whole };
      if (biases.includes(target))
        tensors[`${target}.bias`] = {
          name: `${name}.bias`,
          gguf: `${gguf}.bias`,
          shape: [shape[0]],
          ...order,
        };
    }
    for (const [norm, names] of Object.entries(family.norms) as [SublayerNorm, TensorNames][])
      tensors[norm] = gain(within(names), D);
    if (qk_norm) {
      const [q, k] = qk_norm === "head" ? [E, E] : [H * E, G * E];
      tensors.q_norm = gain(within(["self_attn.q_norm", "attn_q_norm"]), q);
      tensors.k_norm = gain(within(["self_attn.k_norm", "attn_k_norm"]), k);
    }
    return tensors as LayerTensors<TensorSpec>;
  });
  const embed_tokens = { name: "model.embed_tokens.weight", gguf: "token_embd.weight", shape: [V, D] };
  const lm_head = { name: "lm_head.weight", gguf: "output.weight", shape: [V, D] };
  const norm = gain(["model.norm", "output_norm"], D);
  return { embed_tokens, norm, lm_head: config.tie_word_embeddings ? embed_tokens : lm_head, layers };
}

/** The tensor in which `target` lies with other linear layers, where the family's files have one. */
function wholeOf(
  { fused = [] }: Family,
  target: LinearName,
  shapes: Readonly<Record<LinearName, readonly [number, number]>>,
  within: (names: TensorNames) => TensorNames,
): Pick<TensorSpec, "within"> {
  const whole = fused.find(({ layers }) => layers.includes(target));
  if (!whole) return {};
  const rows = (layers: readonly LinearName[]): number =>
    layers.reduce((sum, layer) => sum + shapes[layer][0], 0);
  const { layers } = whole;
  const [name, gguf] = within(whole.names);
  return {
    within: {
      ...{ name: `${name}.weight`, gguf: `${gguf}.weight`, shape: [rows(layers), shapes[target][1]] },
      from: rows(layers.slice(0, layers.indexOf(target))),
    },
  };
}
