/** How much of a device's memory a run takes, found without taking it: its steps on a device that only counts. */
import { CountingDevice, type DeviceLike } from "../engine/backends/counting.ts";
import { Llama } from "../model/llama.ts";
import { counted } from "./config.ts";
import { SINKS } from "./context.ts";
import type { ModelFiles } from "../model/model_files.ts";
import { at } from "../kernels/base/at.ts";
import type { Material } from "./material.ts";
import { LocalLearner, type Place } from "./learner.ts";
import { Session, midway } from "./session.ts";
import { type GivenOptions, completeOptions } from "./session_options.ts";
import { type TranslateOptions, Translator } from "./translate.ts";

/** In bytes, of all devices together: a learner beside the writer has one of its own, with a second copy of the weights. */
export interface Needs {
  /** Of the device that needs more. */
  readonly most: number;
  readonly weights: number;
  /** The adapter with its gradients and moments, caches, activations, and what kernels need. */
  readonly rest: number;
}

export interface RunLength {
  /** Tokens of the text, those to be written included. */
  readonly tokens: number;
  /** Whether some are written. */
  readonly writes: boolean;
}

/**
 * What a session with these options needs at most, on a device like `like`. Exact on the CPU, where the same steps take the same
 * memory each time; on WebGPU without what the driver takes for itself. Throws DeviceError where an adapter's limits are in the way.
 */
export async function needsOf(
  like: DeviceLike,
  modelFiles: ModelFiles,
  given: GivenOptions,
  { tokens, writes }: RunLength,
): Promise<Needs> {
  const complete = completeOptions(given, modelFiles.config);
  const options = { ...complete, recipe: { ...counted(complete.recipe), epochs: 1 } };
  const steps = async (model: Llama, place?: Place): Promise<void> => {
    using session = new Session(model, options, place);
    const { chunk, window, trainWindow, templora, baseline, knn, knnTokens } = session.options;
    const D = model.config.hidden_size;
    // as far into the text as the longest context reaches, then one chunk
    const context = Math.ceil(Math.max(window, trainWindow) / chunk) * chunk;
    const learnt = Math.max(0, Math.min(context, Math.ceil(tokens / chunk) * chunk - chunk));
    const length = Math.max(1, Math.min(tokens, learnt + chunk) - (writes ? 1 : 0));
    const held = knn !== 0 ? Math.min(learnt, knnTokens) : 0;
    const full = {
      seen: held,
      states: new Float32Array(held * D),
      tokens: new Int32Array(held),
      weights: null,
    };
    const snapshot = midway(session.options, { length, learnt });
    await session.restore({ ...snapshot, neighbours: knn !== 0 ? full : null });
    if (writes) await session.next(); // its cache is there while the chunk is learnt
    if (writes && place) await session.hand();
    if (session.learning) await session.take();
    else if (templora || baseline) await session.learn();
    if (writes) await session.next();
  };
  if (given.templora === false || given.schedule !== "parallel")
    return taken(like, modelFiles, (model) => steps(model));
  const needs: Needs[] = [];
  needs.push(
    await taken(like, modelFiles, async (copy) => {
      const place: Place = (_, complete) => new LocalLearner(copy, complete);
      needs.push(await taken(like, modelFiles, (model) => steps(model, place)));
    }),
  );
  const sum = (of: "weights" | "rest"): number => needs.reduce((all, { [of]: bytes }) => all + bytes, 0);
  return { most: Math.max(...needs.map(({ most }) => most)), weights: sum("weights"), rest: sum("rest") };
}

/** The same of a translation: its largest block's last line, the update after it, and the next block's first line. */
export async function translationNeeds(
  like: DeviceLike,
  modelFiles: ModelFiles,
  material: Material<unknown>,
  given: TranslateOptions,
): Promise<Needs> {
  return taken(like, modelFiles, async (model) => {
    const options = { ...given, recipe: { ...counted(given.recipe), epochs: 1 } };
    const largest = material.largest();
    using translator = new Translator(model, largest, options);
    const last = at(largest.blocks, 0).length - 1;
    await translator.restore({ learnt: last, translations: [], learner: null });
    for (let step = 0; step < 3 && !translator.done; step++) await translator.step();
  });
}

/** What `work` takes at most, on a device that only counts. */
async function taken(
  like: DeviceLike,
  modelFiles: ModelFiles,
  work: (model: Llama) => Promise<void>,
): Promise<Needs> {
  await using device = new CountingDevice(like);
  using model = await Llama.unfilled(device, modelFiles);
  const weights = device.bytes;
  await work(model);
  return { most: device.bytes, weights, rest: device.bytes - weights };
}

/** Bytes that kernels and threads take for themselves. */
const SCRATCH = 2 ** 26;

/** More than the run needs, in all and of one buffer: bounds that take no time. What a token leaves in each layer is about half of what is counted here. */
export function atMost(
  { config, tensors }: ModelFiles,
  given: GivenOptions,
  { tokens }: RunLength,
): { readonly total: number; readonly largest: number } {
  const { chunk, window, trainWindow, reuseCache, recipe, knn, knnTokens } = completeOptions(given, config);
  const { hidden_size: D, intermediate_size: F, num_attention_heads: H, num_key_value_heads: G } = config;
  const { num_hidden_layers: L, head_dim: E, vocab_size: V } = config;
  const weights = Array.from(tensors.values(), ({ bytes }) => bytes);
  const positions = Math.max(recipe.replay, Math.min(tokens, chunk + Math.max(window, trainWindow)));
  const layer = 10 * D + 4 * F + 4 * (H + 2 * G) * E;
  const { adapt, rank, kl, ema, replay, context_loss } = recipe;
  const lora = rank * (8 * D + 3 * F + 2 * (H + G) * E); // of a layer
  const linears = 2 * (H + G) * E * D + 3 * F * D;
  const vectors = 6 * D + F * 3 + 2 * (H + G) * E; // more norms and biases than a family has
  const adapter = 4 * L * { lora, full: linears, norms: vectors }[adapt];
  const matrices = adapt === "full" ? 4 * 4 * D * Math.max(F, H * E) : 0; // a gradient before it is added, or what a step is made of
  const activations = 4 * positions * (layer + 4 * rank); // of a layer
  const readers = Number(kl > 0) + Number(ema > 0); // each has a context of its own
  const cached = window + trainWindow + chunk * (reuseCache + 3) + SINKS + readers * (trainWindow + chunk); // has room for them, however short the text is
  const cache = 4 * cached * 3 * G * E; // of a layer: keys, values, and those of far keys
  const learnt = context_loss ? positions : Math.min(positions, Math.max(chunk, replay)); // in one pass
  const logits = (kl > 0 ? 2 : 1) * 4 * V * learnt;
  const moments = (recipe.guard > 0 ? 7 : ema > 0 ? 6 : 4) * adapter; // values, gradients and two moments; a guard's copy of all but the gradients; an average and its way
  const memory = knn !== 0 ? 4 * knnTokens * (D + chunk) : 0; // stored states, and their products with those of a chunk
  return {
    total:
      SCRATCH +
      weights.reduce((sum, bytes) => sum + bytes, 0) +
      moments +
      matrices +
      L * (activations + cache) +
      8 * D * learnt + // states kept for an anchor
      2 * logits +
      2 * memory,
    largest: Math.max(SCRATCH, ...weights, adapter, activations, cache, logits, memory),
  };
}
