/** Temp-LoRA's public names. */
export { Adapter } from "./adapter.ts";
export {
  type AdapterConfig,
  type Recipe,
  type Target,
  type TrainingConfig,
  allTargets,
  learningRate,
  recipes,
  withChanges,
} from "./config.ts";
export { type GenerateOptions, type Written, generate } from "./decode.ts";
export { type ReadOptions, readTokens } from "./perplexity.ts";
export { type ChunkRecord, type Perplexities, Totals } from "./records.ts";
export { TempLora, score } from "./trainer.ts";
