/** The linear layers of a block, under Hugging Face's names: what an adapter may stand beside. The one list of them. */
export const linearNames = [
  "q_proj",
  "k_proj",
  "v_proj",
  "o_proj",
  "gate_proj",
  "up_proj",
  "down_proj",
] as const;
export type LinearName = (typeof linearNames)[number];

/** A tensor's name in Hugging Face's files and in GGUF, less what all tensors of its block begin with and its kind at the end. */
export type TensorNames = readonly [name: string, gguf: string];

export const linearTensors: Readonly<Record<LinearName, TensorNames>> = {
  q_proj: ["self_attn.q_proj", "attn_q"],
  k_proj: ["self_attn.k_proj", "attn_k"],
  v_proj: ["self_attn.v_proj", "attn_v"],
  o_proj: ["self_attn.o_proj", "attn_output"],
  gate_proj: ["mlp.gate_proj", "ffn_gate"],
  up_proj: ["mlp.up_proj", "ffn_up"],
  down_proj: ["mlp.down_proj", "ffn_down"],
};

/** Layers that read the same input: their weights lie side by side in memory where that can be. */
export const sharedInputs: readonly (readonly LinearName[])[] = [
  ["q_proj", "k_proj", "v_proj"],
  ["gate_proj", "up_proj"],
];
