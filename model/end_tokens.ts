/**
 * The tokens that end a text. A model's files name them in several places, of which each may be incomplete: config.json,
 * generation_config.json, the tokenizer's settings, GGUF's eos, eot and eom. Chat models end their turn with a token that often
 * none of these names; it is known by its spelling, as in llama.cpp (src/llama-vocab.cpp, special_eog_ids).
 */
const SPELLINGS = [
  ...["<|eot_id|>", "<|eom_id|>", "<|im_end|>", "<|end|>", "<|endoftext|>", "<|end_of_text|>"],
  ...["<|return|>", "<|call|>", "<end_of_turn>", "<end_of_utterance>", "<EOT>", "_<EOT>", "[EOT]", "[EOS]"],
];

/** The ids of these spellings, where they are special tokens: text that a user types must not end one. */
export function endTokensBySpelling(
  added: ReadonlyMap<string, number>,
  special: ReadonlySet<number>,
): number[] {
  return SPELLINGS.flatMap((spelling) => added.get(spelling) ?? []).filter((id) => special.has(id));
}
