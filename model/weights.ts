/**
 * Loads a checkpoint's tensors onto a device, in their storage formats. Names are Hugging Face's. Layers that read the same
 * input lie one after the other in one buffer, so that a single token goes through them in one product (`linearGroup`).
 */
import type { Task } from "../engine/task.ts";
import { BadInputError } from "../engine/errors.ts";
import { elements } from "../kernels/base/shape.ts";
import type { Tensor } from "../engine/tensor.ts";
import { widen } from "../kernels/formats/index.ts";
import type { Checkpoint, TensorEntry } from "./checkpoint.ts";

/** Bytes; larger groups stay apart: reading them takes so long that a product more is nothing, and bindings have limits. */
const MAX_GROUP = 64 * 2 ** 20;

export interface LayerWeights {
  readonly input_layernorm: Tensor; // [hidden_size]
  readonly q_proj: Tensor; // [num_attention_heads·head_dim, hidden_size]
  readonly k_proj: Tensor; // [num_key_value_heads·head_dim, hidden_size]
  readonly v_proj: Tensor; // [num_key_value_heads·head_dim, hidden_size]
  readonly o_proj: Tensor; // [hidden_size, num_attention_heads·head_dim]
  readonly post_attention_layernorm: Tensor; // [hidden_size]
  readonly gate_proj: Tensor; // [intermediate_size, hidden_size]
  readonly up_proj: Tensor; // [intermediate_size, hidden_size]
  readonly down_proj: Tensor; // [hidden_size, intermediate_size]
}

export interface LlamaWeights {
  readonly embed_tokens: Tensor; // [vocab_size, hidden_size]
  readonly layers: readonly LayerWeights[];
  readonly norm: Tensor; // [hidden_size]
  /** [vocab_size, hidden_size]; the embedding table itself when tied. */
  readonly lm_head: Tensor;
}

/** The caller owns the tensors. `onProgress` hears bytes done and in all. */
export async function loadWeights(
  task: Task,
  checkpoint: Checkpoint,
  onProgress?: (done: number, total: number) => void,
): Promise<LlamaWeights> {
  const { config, tensors } = checkpoint;
  const total = [...tensors.values()].reduce((sum, { bytes }) => sum + bytes, 0);
  let done = 0;
  const entryOf = (name: string): TensorEntry => {
    const entry = tensors.get(name);
    if (!entry) throw new BadInputError(`${checkpoint.source}: tensor ${name} is missing`);
    return entry;
  };
  const read = async (name: string): Promise<Uint8Array<ArrayBuffer>> => {
    const bytes = await checkpoint.read(name);
    done += bytes.byteLength;
    onProgress?.(done, total);
    return bytes;
  };
  const load = async (name: string): Promise<Tensor> => {
    const { shape, dtype } = entryOf(name);
    return task.weight(await read(name), shape, dtype, name);
  };
  /** Norm gains are read as f32 by their kernels, whatever the file holds. */
  const loadGain = async (name: string): Promise<Tensor> => {
    const { shape, dtype } = entryOf(name);
    return task.tensor(Float32Array.from(widen(dtype, await read(name))), shape, name);
  };
  /** Weights as runs of rows of one buffer, where that can be: same width, same format, and the device takes such views. */
  const loadGroup = async (names: readonly string[]): Promise<Tensor[]> => {
    const entries = names.map(entryOf);
    const [{ dtype, shape }] = entries;
    const alike = entries.every((entry) => entry.dtype === dtype && entry.shape[1] === shape[1]);
    const small = entries.reduce((sum, { bytes }) => sum + bytes, 0) <= MAX_GROUP;
    const sizes = entries.map((entry) => elements(entry.shape));
    const group: Tensor[] = [];
    if (!alike || !small || !task.canDivide(dtype, sizes)) {
      for (const name of names) group.push(await load(name));
      return group;
    }
    const rows = entries.reduce((sum, entry) => sum + entry.shape[0], 0);
    const all = task.empty([rows, shape[1]], dtype, names.join(", "));
    let end = 0;
    for (const { name, shape } of entries) {
      const part = task.rows(all, end, (end += shape[0]));
      task.setWeight(part, await read(name), name);
      group.push(part);
    }
    all.dispose(); // its parts hold the memory
    return group;
  };
  const embed_tokens = await load("model.embed_tokens.weight");
  const layers: LayerWeights[] = [];
  for (let i = 0; i < config.num_hidden_layers; i++) {
    const at = `model.layers.${i}`;
    const input_layernorm = await loadGain(`${at}.input_layernorm.weight`);
    const [q_proj, k_proj, v_proj] = await loadGroup(
      ["q_proj", "k_proj", "v_proj"].map((name) => `${at}.self_attn.${name}.weight`),
    );
    const o_proj = await load(`${at}.self_attn.o_proj.weight`);
    const post_attention_layernorm = await loadGain(`${at}.post_attention_layernorm.weight`);
    const [gate_proj, up_proj] = await loadGroup(
      ["gate_proj", "up_proj"].map((name) => `${at}.mlp.${name}.weight`),
    );
    const down_proj = await load(`${at}.mlp.down_proj.weight`);
    const attention = { input_layernorm, q_proj, k_proj, v_proj, o_proj };
    layers.push({ ...attention, post_attention_layernorm, gate_proj, up_proj, down_proj });
  }
  const norm = await loadGain("model.norm.weight");
  const lm_head = config.tie_word_embeddings ? embed_tokens : await load("lm_head.weight");
  return { embed_tokens, layers, norm, lm_head };
}
