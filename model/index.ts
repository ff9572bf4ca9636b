/** The model's public names. */
export { type Checkpoint, openCheckpoint } from "./checkpoint.ts";
export type { ModelConfig } from "./config.ts";
export { Decoder } from "./decoder.ts";
export { KVCache } from "./kv_cache.ts";
export { type LinearAdapter, Llama } from "./llama.ts";
export { Sampler, type SamplingOptions } from "./sample.ts";
