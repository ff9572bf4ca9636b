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

/** Layers that read the same input: their weights lie side by side in memory where that can be. */
export const sharedInputs: readonly (readonly LinearName[])[] = [
  ["q_proj", "k_proj", "v_proj"],
  ["gate_proj", "up_proj"],
];
