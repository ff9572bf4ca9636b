/** The options of a session, their defaults and their limits. */
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
  /** Seed of the adapter's first values, of dropout and of sampling; 0 to 2³² − 1. */
  readonly seed: number;
  /** Train an adapter. */
  readonly templora: boolean;
  /** Score every chunk that is learnt with the frozen model too. */
  readonly baseline: boolean;
  /** After how many updates cached keys and values still serve; 0, the default = computed again after every update. */
  readonly reuseCache: number;
  /** How many of the first layers compute their activations again in the backward: less memory, more time, the same numbers. */
  readonly checkpointLayers: number;
  /** Default: greedy. */
  readonly sampling: SamplingOptions;
  /** Ids that end the text when they are chosen; they are not added to it. */
  readonly stopIds: readonly number[];
  /** Ids that are never chosen. */
  readonly banIds: readonly number[];
}

/** Options as given to a session; the others take the paper's values, as far as the model's positions allow. */
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

/** The first option that differs and changes what is computed; null if there is none. */
export function differing(a: SessionOptions, b: SessionOptions): string | null {
  const free: readonly (keyof SessionOptions)[] = ["baseline", "checkpointLayers"];
  for (const key of Object.keys(a) as (keyof SessionOptions)[])
    if (!free.includes(key) && JSON.stringify(a[key]) !== JSON.stringify(b[key])) return key;
  return null;
}
