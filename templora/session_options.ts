/** The options of a session, their defaults and their limits. */
import { BadInputError } from "../engine/errors.ts";
import type { ModelConfig } from "../model/config.ts";
import { type SamplingOptions, greedy } from "../model/sample.ts";
import { DEFAULT_RECIPE, type Recipe, type RecipeName, presets, recipes, withChanges } from "./config.ts";
import { assertGuards } from "./guard.ts";
import { expectWithin } from "./limits.ts";
import type { Share } from "./neighbours.ts";
import { type RepetitionAnswer, answers } from "./repetition.ts";
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
  /** A window begins with the BOS that the text begins with, if it does, wherever the window begins. Default: true. */
  readonly keepBos: boolean;
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
  /** After how many updates cached keys and values still serve; 0 = computed again after every update. Default: the recipe's. */
  readonly reuseCache: number;
  /** λ: what share of every score a memory of hidden states has (neighbours.ts), beside the adapter and beside the frozen model; "auto": what has done best so far; 0, the default = none. */
  readonly knn: Share;
  /** Hidden states that such a memory keeps: of the newest tokens. Default: 16,384. */
  readonly knnTokens: number;
  /** How many of the first layers compute their activations again in the backward: less memory, more time, the same numbers. */
  readonly checkpointLayers: number;
  /** What is done where a text repeats itself that the model writes (repetition.ts). Default: report. */
  readonly onRepetition: RepetitionAnswer;
  /** Default: greedy. */
  readonly sampling: SamplingOptions;
  /** Ids that end the text when they are chosen; they are not added to it. */
  readonly stopIds: readonly number[];
  /** Ids that are never chosen. */
  readonly banIds: readonly number[];
}

/** Options as given to a session; the others take the recipe's values, as far as the model allows. */
export type GivenOptions = Partial<Omit<SessionOptions, "recipe" | "sampling">> & {
  /** A recipe by its name, with its chunk and windows; or what differs from the default one. */
  readonly recipe?: RecipeName | Partial<Recipe>;
  readonly sampling?: Partial<SamplingOptions>;
};

/** What is seen of a text at a time. */
export type Windows = Pick<SessionOptions, "chunk" | "window" | "trainWindow" | "reuseCache">;
/** Beside the windows: what a memory has to say. */
export type Memory = Pick<SessionOptions, "knn" | "knnTokens">;

/** Hidden states that a memory keeps. */
export const KNN_TOKENS = 16_384;

/**
 * The windows as given, and else those that `name` has, as far as the model allows: a chunk takes at most half of its positions, and so does
 * a window whose keys serve again; where a text is written a cache takes those of all the chunks that it serves for. Keys serve again by default only where the context
 * gets no gradient, scoring and training have the same, and no key is seen from afar, whose position would change.
 */
export function windowsOf(
  given: Partial<Windows>,
  { max_position_embeddings: positions, layers }: Pick<ModelConfig, "max_position_embeddings" | "layers">,
  recipe: Recipe,
  { name = DEFAULT_RECIPE, writes = true }: { readonly name?: RecipeName; readonly writes?: boolean } = {},
): Windows {
  const preset = presets[name];
  const { chunk = Math.min(preset.chunk, share(positions, given, writes)) } = given;
  const near = !recipe.context_grad && !layers.some(({ far }) => far);
  const left = Math.max(0, positions - chunk * served(given, writes));
  // a window that leaves positions for keys that serve again
  const room = near && preset.reuseCache > 0 ? Math.min(left, Math.floor(positions / 2)) : left;
  const { window = Math.min(preset.window, room), trainWindow = window } = given;
  const slides = near && window === trainWindow;
  const most = Math.floor((positions - Math.max(1, window)) / chunk) - 1; // reading and writing have the same keys
  const { reuseCache = slides ? Math.min(preset.reuseCache, Math.max(0, most)) : 0 } = given;
  return { chunk, window, trainWindow, reuseCache };
}

/** For how many chunks the positions behind the window must do. */
function served({ reuseCache = 0 }: Partial<Windows>, writes: boolean): number {
  return writes ? reuseCache + 1 : 1;
}

function share(positions: number, given: Partial<Windows>, writes: boolean): number {
  return Math.max(1, Math.floor(positions / 2 / served(given, writes)));
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

/** All options, checked; throws BadInputError, which names the option. `fallback`: the recipe where none is named. */
export function completeOptions(
  given: GivenOptions,
  config: ModelConfig,
  fallback: RecipeName = DEFAULT_RECIPE,
): SessionOptions {
  const { max_position_embeddings: positions, longer, num_hidden_layers: layers } = config;
  const { seed = 0, templora = true, baseline = true, checkpointLayers = 0 } = given;
  const {
    schedule = "cascaded",
    tokenScores = false,
    keepBos = true,
    onRepetition = "report",
    knn = 0,
    knnTokens = KNN_TOKENS,
  } = given;
  const name = typeof given.recipe === "string" ? given.recipe : fallback;
  const changes = typeof given.recipe === "string" ? {} : (given.recipe ?? {});
  if (!Object.hasOwn(presets, name))
    throw new BadInputError(`recipe ${name}: one of ${Object.keys(presets).join(", ")} is expected`);
  const { adapter = null, stopIds = [], banIds = [] } = given;
  const sampling = { ...greedy, ...given.sampling };
  if (!schedules.includes(schedule))
    throw new BadInputError(`schedule ${String(schedule)}: one of ${schedules.join(", ")} is expected`);
  if (!answers.includes(onRepetition))
    throw new BadInputError(`onRepetition ${String(onRepetition)}: one of ${answers.join(", ")} is expected`);
  if (templora) assertSlides(config, schedule);
  if (adapter && !templora) throw new BadInputError("adapter: there is none where templora is false");
  adapter?.assertAgrees(changes);
  expectKnown(changes, recipes[name]);
  const recipe = withChanges({ ...recipes[name], ...adapter?.recipe }, changes);
  assertGuards(templora ? recipe : null, baseline);
  const { chunk, window, trainWindow, reuseCache } = windowsOf(given, config, recipe, { name });
  const whole = { integer: true, min: 0 };
  expectWithin({ chunk }, { integer: true, min: 1 });
  expectWithin({ window, trainWindow, reuseCache }, whole);
  if (knn !== "auto") expectWithin({ knn }, { min: 0, below: 1 });
  expectWithin({ knnTokens }, { integer: true, min: 1 });
  expectWithin({ seed }, { ...whole, max: 2 ** 32 - 1 });
  expectWithin({ checkpointLayers }, { ...whole, max: layers });
  expectWithin({ "recipe.replay": recipe.replay }, { ...whole, max: positions });
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
    ...{ schedule, adapter, sampling, stopIds, banIds, tokenScores, knn, knnTokens, onRepetition, keepBos },
  };
  expectKnown(given, { ...options, ...LOOP });
  expectKnown(given.sampling ?? {}, greedy);
  return options;
}

/** The first option that differs and changes what is computed; null if there is none. */
export function differing(a: SessionOptions, b: SessionOptions): string | null {
  const free: readonly (keyof SessionOptions)[] = [
    "baseline",
    "checkpointLayers",
    "tokenScores",
    "onRepetition",
  ];
  if ((a.onRepetition === "skip") !== (b.onRepetition === "skip")) return "onRepetition";
  for (const key of Object.keys(a) as (keyof SessionOptions)[])
    if (!free.includes(key) && JSON.stringify(a[key]) !== JSON.stringify(b[key])) return key;
  return null;
}
