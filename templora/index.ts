/** Temp-LoRA's public names, and those of the layers below that a page of code needs. */
export { openDevice } from "../engine/backends/open.ts";
export * from "../engine/errors.ts";
export { AdamW, Parameters, Task, record } from "../engine/index.ts";
export { type Llama, loadModel } from "../model/index.ts";
export { Adapter } from "./adapter.ts";
export { type SaveAdapterOptions, loadAdapter, saveAdapter } from "./adapters.ts";
export { type Generated, type GenerateOptions, type ReadOptions, generate, readText } from "./api.ts";
export {
  type Adapt,
  type AdapterConfig,
  type OptimizerName,
  type Recipe,
  type RecipeName,
  type Target,
  type TrainingConfig,
  adapts,
  allTargets,
  learningRate,
  optimizerNames,
  presets,
  recipes,
  withChanges,
} from "./config.ts";
export type { Learnable } from "./learnable.ts";
export { besideWriter } from "./learner_beside.ts";
export { type ChunkRecord, type Perplexities, type Scored, Totals } from "./records.ts";
export { type Outcome, Session, type SessionSnapshot } from "./session.ts";
export type { GivenOptions, SessionOptions } from "./session_options.ts";

// Types that the signatures above name.
export type {
  AdamWOptions,
  Device,
  DeviceInfo,
  OpenDeviceOptions,
  ParameterSpec,
  Tape,
  Tensor,
} from "../engine/index.ts";
export type { SamplingOptions, Tokenizer } from "../model/index.ts";
export type { ContextOptions, ContextSnapshot } from "./context.ts";
export type { TrainingState } from "./training_state.ts";
export type { Keeper, Keeping, Kept } from "./keeping.ts";
export type { NeighbourOptions, Neighbours, NeighboursSnapshot, Share } from "./neighbours.ts";
export type { ReadingOptions } from "./perplexity.ts";
export type { Spent, Split } from "./records.ts";
export type { Entropies, EntropySum, Repetition, RepetitionAnswer } from "./repetition.ts";
export type { Sequence } from "./chunks.ts";
export type { Stopwatch } from "./stopwatch.ts";
export type { Learner, Learnt, Lesson, Place, Update } from "./learner.ts";
export type { LearnerSnapshot, TrainedChunk } from "./trainer.ts";
export type { Schedule } from "./session_options.ts";
export type {
  AdapterRecipe,
  Lora,
  LoraConfig,
  LoraLayout,
  LoraShape,
  StoredAdapter,
} from "./stored_adapter.ts";
export type { Renewal, Renewed, WriterSnapshot } from "./writer.ts";
