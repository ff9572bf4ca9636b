/** The model's public names. */
export type { ModelFiles } from "./model_files.ts";
export type { ModelConfig } from "./config.ts";
export { Decoder } from "./decoder.ts";
export { KVCache } from "./kv_cache.ts";
export { type LinearName, linearNames } from "./layers.ts";
export { type LinearAdapter, Llama, type Pass } from "./llama.ts";
export { loadModel } from "./load.ts";
export { Sampler, type SamplingOptions, greedy } from "./sample.ts";
export { Tokenizer } from "./tokenizer.ts";
