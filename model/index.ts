/** The model's public names. */
export type { ModelFiles } from "./model_files.ts";
export type { LayerFacts, ModelConfig } from "./config.ts";
export { Decoder } from "./decoder.ts";
export { KVCache } from "./kv_cache.ts";
export { type LinearName, type TensorNames, linearNames } from "./layers.ts";
export { type LinearAdapter, Llama, type Pass } from "./llama.ts";
export { loadModel } from "./load.ts";
export { Sampler, type SamplingOptions, greedy } from "./sample.ts";
export { Tokenizer } from "./tokenizer.ts";

// Types that the signatures above name.
export type {
  BiasName,
  Family,
  LayerTensors,
  NormName,
  SublayerNorm,
  TensorSpec,
  VectorName,
} from "./family.ts";
export type { BiasFlag, Fields, LayerKind, Others, RopeFields, Sizes } from "./fields.ts";
export type { GgufValue } from "./gguf.ts";
export type { DecodeStream } from "./decode_stream.ts";
export type { FieldName, KeySource, Keys, Unread } from "./keys.ts";
export type { CacheOptions, CacheSnapshot, LayerKeys } from "./kv_cache.ts";
export type { AttentionSpan, ModelPart } from "./llama.ts";
export type { ByDivisors, ByFactor, Extension, ExtensionMethod } from "./extend.ts";
export type { FarKeys } from "./far_keys.ts";
export type { LoadOptions } from "./load.ts";
export type { StorageDType, TensorEntry } from "./model_files.ts";
export type { Attention } from "./reach.ts";
export type { RopeConfig, RopeScaling } from "./rope.ts";
export type {
  ChatOptions,
  EncodeOptions,
  EncodePartsOptions,
  Message,
  TokenizerSettings,
} from "./tokenizer.ts";
export type { Untrusted } from "./untrusted.ts";
export type { LayerWeights, ModelWeights, OnProgress } from "./weights.ts";
