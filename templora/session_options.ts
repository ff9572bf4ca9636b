/** The options of a session, their defaults and their limits. */
import { BadInputError } from "../engine/errors.ts";
import type { ModelConfig } from "../model/config.ts";
import { type SamplingOptions, greedy } from "../model/sample.ts";
import { type Recipe, checkRecipe, recipes } from "./config.ts";
import { expectWithin } from "./limits.ts";
import type { StoredAdapter } from "./stored_adapter.ts";

/**
 * When an update of the adapter runs. "cascaded": between two chunks, so that each chunk is written with all that came before it.
 * "parallel": beside the writing of the next chunk, which is written with the adapter of one update earlier.
 */
export const schedules: readonly Schedule[] = ["cascaded", "parallel"];
export type Schedule = "cascaded" | "parallel";

export interface SessionOptions {
  /** Default: cascaded. What is given is learnt before the first token is written, under either. */
  readonly schedule: Schedule;
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
  /** Where the adapter begins: rank, alpha and targets are then its own. Default: null, a fresh one. */
  readonly adapter: StoredAdapter | null;
  /** Score every chunk that is learnt with the frozen model too. */
  readonly baseline: boolean;
  /** Records have `token_scores`. */
  readonly tokenScores: boolean;
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

/** The paper's. */
const CHUNK = 1024;
const WINDOW = 3072;

export type Windows = Pick<SessionOptions, "chunk" | "window" | "trainWindow">;

/**
 * The windows as given, and else the paper's, as far as the model's positions allow: a chunk takes at most half of them.
 * `reuse`: for how many chunks more the positions of a cache must do.
 */
export function windowsOf(given: Partial<Windows>, positions: number, reuse = 0): Windows {
  const { chunk = Math.max(1, Math.min(CHUNK, Math.floor(positions / 2 / (reuse + 1)))) } = given;
  const room = Math.max(0, positions - chunk * (reuse + 1));
  const { window = Math.min(WINDOW, room), trainWindow = window } = given;
  return { chunk, window, trainWindow };
}

/** What the loops over a session take beside its options (api.ts). */
const LOOP = { signal: 0, keeper: 0, firstChunk: 0, tokens: 0, read: 0 };

/** Throws BadInputError for an option that nothing reads. */
function expectKnown(given: object, known: object): void {
  const unknown = Object.keys(given).find((name) => !Object.hasOwn(known, name));
  if (unknown !== undefined)
    throw new BadInputError(`${unknown}: no such option; there are ${Object.keys(known).join(", ")}`);
}

/** Throws where the model's attention and a cache that slides do not go together. */
export function assertSlides({ layers }: Pick<ModelConfig, "layers">, schedule: Schedule): void {
  if (schedule === "parallel" && layers.some(({ far }) => far))
    throw new BadInputError(
      "schedule parallel: its cache slides, and far keys (attention streaming, self-extend) would change their places; take cascaded",
    );
}

/** All options, checked; throws BadInputError, which names the option. */
export function completeOptions(given: GivenOptions, config: ModelConfig): SessionOptions {
  const { max_position_embeddings: positions, longer, num_hidden_layers: layers } = config;
  const { seed = 0, templora = true, baseline = true, reuseCache = 0, checkpointLayers = 0 } = given;
  const { schedule = "cascaded", tokenScores = false } = given;
  const { chunk, window, trainWindow } = windowsOf(given, positions, reuseCache);
  const { adapter = null, stopIds = [], banIds = [] } = given;
  const sampling = { ...greedy, ...given.sampling };
  if (!schedules.includes(schedule))
    throw new BadInputError(`schedule ${String(schedule)}: one of ${schedules.join(", ")} is expected`);
  if (templora) assertSlides(config, schedule);
  if (adapter && !templora) throw new BadInputError("adapter: there is none where templora is false");
  adapter?.assertAgrees(given.recipe ?? {});
  const recipe = checkRecipe({ ...recipes.paper, ...adapter?.recipe, ...given.recipe });
  const whole = { integer: true, min: 0 };
  expectWithin({ chunk }, { integer: true, min: 1 });
  expectWithin({ window, trainWindow, reuseCache }, whole);
  expectWithin({ seed }, { ...whole, max: 2 ** 32 - 1 });
  expectWithin({ checkpointLayers }, { ...whole, max: layers });
  if (!adapter) expectWithin({ "recipe.layers": recipe.layers }, { ...whole, max: layers });
  const widest = Math.max(window, trainWindow);
  if (widest + chunk > positions) {
    const loading = longer ? `, or load the model for more, loadModel(device, path, { positions })` : "";
    throw new BadInputError(
      `window ${widest} + chunk ${chunk} exceed the model's ${positions} positions: lower window or chunk${loading}`,
    );
  }
  const options = {
    ...{ chunk, window, trainWindow, recipe, seed, templora, baseline, reuseCache, checkpointLayers },
    ...{ schedule, adapter, sampling, stopIds, banIds, tokenScores },
  };
  expectKnown(given, { ...options, ...LOOP });
  expectKnown(given.recipe ?? {}, recipes.paper);
  expectKnown(given.sampling ?? {}, greedy);
  return options;
}

/** The first option that differs and changes what is computed; null if there is none. */
export function differing(a: SessionOptions, b: SessionOptions): string | null {
  const free: readonly (keyof SessionOptions)[] = ["baseline", "checkpointLayers", "tokenScores"];
  for (const key of Object.keys(a) as (keyof SessionOptions)[])
    if (!free.includes(key) && JSON.stringify(a[key]) !== JSON.stringify(b[key])) return key;
  return null;
}
