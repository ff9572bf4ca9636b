/** What a model gives to the tokens of a sequence, with an adapter or without one: the passes that score, and the one that is recorded to be learnt from. */
import type { Task } from "../engine/task.ts";
import type { Tensor } from "../engine/tensor.ts";
import type { KVCache } from "../model/kv_cache.ts";
import type { Llama, Pass } from "../model/llama.ts";
import { type Sequence, partsOf } from "./chunks.ts";
import { type Recipe, dropsOut } from "./config.ts";
import type { Learnable } from "./learnable.ts";
import type { Neighbours } from "./neighbours.ts";
import { nonFinite } from "./nonfinite.ts";

/**
 * Sum of the negative log-likelihoods of a sequence's targets, nats, in float64. `adapter` null = the base model.
 * With `context`, keys and values of the inputs before the chunk come from that cache.
 */
export async function score(
  task: Task,
  model: Llama,
  sequence: Sequence,
  adapter: Learnable | null,
  context: KVCache | null = null,
): Promise<number> {
  return totalOf(await scores(task, model, sequence, adapter, context));
}

/** The negative log-likelihood of each of a sequence's targets, nats; as `score` otherwise. With `memory`, its share is in them. */
export async function scores(
  task: Task,
  model: Llama,
  sequence: Sequence,
  adapter: Learnable | null,
  context: KVCache | null = null,
  memory: Neighbours | null = null,
): Promise<Float32Array> {
  if (sequence.targets.length === 0) return new Float32Array();
  using _scope = task.scope();
  const each = await losses(task, model, sequence, context, { adapter, ...watching(memory) }).data();
  if (!Number.isFinite(totalOf(each))) throw await nonFinite(NO_LOSS, task, model, sequence.inputs, adapter);
  return memory ? await memory.mix(each, sequence.targets) : each;
}

/** What lets a memory see the hidden states of a pass. */
export function watching(memory: Neighbours | null): Pick<Pass, "watch"> {
  return memory ? { watch: (x, part) => void (part === "norm" && memory.watch(x)) } : {};
}

export const NO_LOSS = "the loss is not finite";

/**
 * Whether the training's first pass is the scoring pass as well: over the same tokens, without dropout, all of them at once, with the
 * values that learn, and not with their average.
 */
export function scoresFirst(recipe: Recipe, scored: Sequence, trained: Sequence): boolean {
  const whole = partsOf(trained, recipe.step_tokens).length === 1 && !recipe.context_loss;
  return whole && scored.context === trained.context && !dropsOut(recipe) && recipe.ema === 0;
}

/** The negative log-likelihood of each of a sequence's targets with the base model, nats. */
export async function tokenLosses(task: Task, model: Llama, sequence: Sequence): Promise<Float32Array> {
  using _scope = task.scope();
  return await losses(task, model, sequence, null, { adapter: null }).data();
}

/** nll [number of targets] of a sequence, nats; the caller's scope owns it. */
export function losses(
  task: Task,
  model: Llama,
  sequence: Sequence,
  context: KVCache | null,
  pass: Pass,
): Tensor {
  return task.tidy(() => model.nll(states(task, model, sequence, context, pass), sequence.targets));
}

/** The hidden states [number of targets, D] that predict a sequence's targets; the caller's scope owns them. */
export function states(
  task: Task,
  model: Llama,
  { inputs, from }: Sequence,
  context: KVCache | null,
  pass: Pass,
): Tensor {
  context?.rewind(from);
  return task.tidy(() => {
    const ids = model.ids(task, context ? inputs.subarray(from) : inputs);
    return model.forward(ids, context ? { ...pass, cache: context } : { ...pass, from });
  });
}

/** The sum, in float64 and in order. */
export function totalOf(values: Float32Array): number {
  return values.reduce((sum, x) => sum + x, 0);
}
