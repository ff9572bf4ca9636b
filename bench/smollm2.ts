/** SmolLM2-135M's shapes without its weights: kernels are measured at them when no model is named. */
import { type WeightDType, byteLength } from "../kernels/base/dtype.ts";
import { elements } from "../kernels/base/shape.ts";
import type { ModelFiles, TensorEntry } from "../model/model_files.ts";
import { describeFolder } from "../model/families/index.ts";
import { type TensorSpec, tensorsOf } from "../model/family.ts";

const { family, config } = describeFolder({
  model_type: "llama",
  vocab_size: 49152,
  hidden_size: 576,
  intermediate_size: 1536,
  num_hidden_layers: 30,
  num_attention_heads: 9,
  num_key_value_heads: 3,
  rms_norm_eps: 1e-5,
  rope_theta: 100_000,
  max_position_embeddings: 8192,
  tie_word_embeddings: true,
  bos_token_id: 1,
  eos_token_id: 2,
});

/** Model files for uses where only shapes count: weights are zeros in their storage format. */
export function withoutWeights({
  family,
  config,
  tensors,
  source,
}: Pick<ModelFiles, "family" | "config" | "tensors" | "source">): ModelFiles {
  const zeros = (name: string): Uint8Array<ArrayBuffer> => new Uint8Array(tensors.get(name)?.bytes ?? 0);
  return {
    ...{ family, config, tensors, source },
    get tokenizer(): never {
      throw new Error(`${source}: shapes alone have no tokenizer`);
    },
    read: (name) => Promise.resolve(zeros(name)),
    async *parts(name) {
      yield await Promise.resolve(zeros(name));
    },
    paths: [],
    close: () => Promise.resolve(),
    [Symbol.asyncDispose]: () => Promise.resolve(),
  };
}

/** As in the GGUF file that `npm run fetch:smollm2` fetches. */
export function smollm2Shapes(): ModelFiles {
  const { embed_tokens, norm, layers } = tensorsOf(family, config);
  const tensors = new Map<string, TensorEntry>();
  const add = ({ name, shape }: TensorSpec): void => {
    const dtype: WeightDType = shape.length === 1 ? "f32" : name === embed_tokens.name ? "q8_0" : "q4_1";
    tensors.set(name, { name, inFile: name, dtype, shape, bytes: byteLength(dtype, elements(shape)) });
  };
  add(embed_tokens);
  for (const layer of layers) Object.values(layer).forEach(add);
  add(norm);
  return withoutWeights({ family, config, tensors, source: "SmolLM2-135M's shapes" });
}
