/** What a session is given, what it takes where nothing is given, and which values make sense. */
import { BadInputError } from "../engine/errors.ts";
import type { ModelConfig } from "../model/config.ts";
import { type SamplingOptions, greedy } from "../model/sample.ts";
import { type Recipe, checkRecipe, recipes } from "./config.ts";
import { expectWithin } from "./limits.ts";

export interface SessionOptions {
  /** Δ, tokens. */
  readonly chunk: number;
  /** Context tokens before a chunk, when scoring and writing. */
  readonly window: number;
  /** Context tokens when training; default: `window`. */
  readonly trainWindow: number;
  readonly recipe: Recipe;
  readonly seed: number;
  /** Train an adapter. */
  readonly templora: boolean;
  /** Score every chunk that is learnt with the frozen model too. */
  readonly baseline: boolean;
  /** Updates that cached keys and values outlive; 0, the default = computed again after every update. */
  readonly reuseCache: number;
  /** First layers whose activations are computed again in the backward: less memory, more time, the same numbers. */
  readonly checkpointLayers: number;
  /** Default: greedy. */
  readonly sampling: SamplingOptions;
  /** Writing ends before one of these. */
  readonly stopIds: readonly number[];
  /** Never written. */
  readonly banIds: readonly number[];
}

/** What is not given is the paper's, as far as the model's positions allow. */
export type GivenOptions = Partial<Omit<SessionOptions, "recipe" | "sampling">> & {
  readonly recipe?: Partial<Recipe>;
  readonly sampling?: Partial<SamplingOptions>;
};

/** Context tokens of the paper. */
const WINDOW = 3072;

/** All options, checked; throws BadInputError, which names the option. */
export function completeOptions(
  given: GivenOptions,
  { max_position_embeddings: positions, num_hidden_layers: layers }: ModelConfig,
): SessionOptions {
  const { chunk = Math.min(1024, positions) } = given;
  const { window = Math.max(0, Math.min(WINDOW, positions - chunk)), trainWindow = window } = given;
  const { seed = 0, templora = true, baseline = true, reuseCache = 0, checkpointLayers = 0 } = given;
  const { stopIds = [], banIds = [] } = given;
  const sampling = { ...greedy, ...given.sampling };
  const recipe = checkRecipe({ ...recipes.paper, ...given.recipe });
  const whole = { integer: true, min: 0 };
  expectWithin({ chunk }, { integer: true, min: 1 });
  expectWithin({ window, trainWindow, reuseCache }, whole);
  expectWithin({ seed }, { ...whole, max: 2 ** 32 - 1 });
  expectWithin({ checkpointLayers }, { ...whole, max: layers });
  const widest = Math.max(window, trainWindow);
  if (widest + chunk > positions)
    throw new BadInputError(
      `window ${widest} + chunk ${chunk} exceed the model's ${positions} positions: lower window or chunk`,
    );
  return {
    ...{ chunk, window, trainWindow, recipe, seed, templora, baseline, reuseCache, checkpointLayers },
    ...{ sampling, stopIds, banIds },
  };
}

/** The first option that differs between two sessions and decides what they compute; null if none does. */
export function differing(a: SessionOptions, b: SessionOptions): string | null {
  const free: readonly (keyof SessionOptions)[] = ["baseline", "checkpointLayers"];
  for (const key of Object.keys(a) as (keyof SessionOptions)[])
    if (!free.includes(key) && JSON.stringify(a[key]) !== JSON.stringify(b[key])) return key;
  return null;
}
