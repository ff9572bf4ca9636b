/**
 * What a Temp-LoRA run is made of, with the paper's values and ours. Wang, Ma & Cai 2024, "With Greater Text Comes Greater
 * Necessity", https://arxiv.org/abs/2401.11504; where the paper is silent, the values of its code
 * (github.com/TemporaryLoRA/Temp-LoRA: DeepSpeed configuration, peft's defaults).
 */
import { BadInputError } from "../engine/errors.ts";
import { type LinearName, linearNames } from "../model/layers.ts";
import { type Limits, inWords, within } from "./limits.ts";

/** The layers that can be adapted. */
export const allTargets = linearNames;
export type Target = LinearName;

/** How gradients become steps: optimizers.ts. */
export const optimizerNames = ["adamw", "sgd", "muon"] as const;
export type OptimizerName = (typeof optimizerNames)[number];

/**
 * What is learnt on each chunk: a LoRA, or, for dynamic evaluation (Krause et al. 2018, https://arxiv.org/abs/1709.07432 and
 * https://arxiv.org/abs/1904.08378), all weights of the blocks' linear layers, or their norms' gains and their biases alone.
 */
export const adapts = ["lora", "full", "norms"] as const;
export type Adapt = (typeof adapts)[number];

/**
 * What the scale of a LoRA beside a layer is, in times of alpha / rank: 1 (Hu et al. 2021), √rank (Kalajdzievski 2023, https://arxiv.org/abs/2312.03732),
 * or the size of the weight's rows. The last makes what a step of the rate changes a share of the layer's output, so that one rate serves models whose
 * numbers differ in size: of SmolLM2's layers 5 times the input comes out, of Gemma 3's 1 time (docs/log.md).
 */
export const scalings = ["lora", "rslora", "weight"] as const;
export type Scaling = (typeof scalings)[number];

/** The first values of a LoRA's A; B is 0: starts.ts. */
export const inits = ["peft", "weight", "input"] as const;
export type Init = (typeof inits)[number];

/** The LoRA itself: what inference depends on, too. */
export interface AdapterConfig {
  readonly rank: number;
  readonly alpha: number;
  readonly scaling: Scaling;
  readonly dropout: number;
  readonly targets: readonly Target[];
  readonly layers: number;
}

/** How the adapter is trained. What each value means, its unit and its limits: `recipeFields`. */
export interface TrainingConfig {
  readonly optimizer: OptimizerName;
  readonly lr: number;
  readonly loraplus_lr_ratio: number;
  readonly warmup: number;
  readonly lr_timescale: number;
  readonly epochs: number;
  readonly step_tokens: number;
  readonly learn_below: number;
  readonly skip_below: number;
  readonly context_loss: boolean;
  readonly kl: number;
  readonly replay: number;
  readonly ema: number;
  readonly guard: number;
  readonly context_grad: boolean;
  readonly clip: number;
  readonly beta1: number;
  readonly beta2: number;
  readonly eps: number;
  readonly weight_decay: number;
}

export interface Recipe extends AdapterConfig, TrainingConfig {
  readonly adapt: Adapt;
  readonly init: Init;
}

/** One key of a recipe: what it means, in what unit, and which values it takes. Checks and flags follow from it. */
export type Field = {
  readonly unit: string;
  readonly meaning: string;
  /** The default in words, where the value itself would not be clear. */
  readonly byDefault?: string;
} & (
  | { readonly kind: "number"; readonly limits: Limits }
  | { readonly kind: "names"; readonly names: readonly string[] }
  | { readonly kind: "choice"; readonly names: readonly string[] }
  | { readonly kind: "switch" }
);

function number(unit: string, meaning: string, limits: Limits): Field {
  return { kind: "number", unit, meaning, limits };
}
const integer = true;
const share: Limits = { min: 0, below: 1 };

/** The keys of a recipe, in the order of records and help texts. */
export const recipeFields: { readonly [K in keyof Recipe]: Field } = {
  adapt: {
    kind: "choice",
    unit: "what",
    meaning:
      "what learns: lora, or (dynamic evaluation) full, all weights of the blocks' linear layers, or norms, their gains and the biases. Only lora reads rank, alpha, scaling, dropout, init and loraplus-lr-ratio; norms reads no targets",
    names: adapts,
  },
  rank: number("r", "rank of the LoRA", {
    integer,
    min: 1,
    max: 4096,
  }),
  alpha: {
    ...number("a", "the LoRA's scale is alpha / rank, in times of what --scaling says", {
      above: 0,
      max: 1e6,
    }),
    byDefault: "the rank; its root under rslora, a fifth of it under weight",
  },
  scaling: {
    kind: "choice",
    unit: "what",
    meaning:
      "what the LoRA's scale is in times of alpha / rank: lora, 1; rslora, the rank's root; weight, the size of the rows of the weight beside it, so that one --lr fits models whose numbers differ in size",
    names: scalings,
  },
  dropout: number("p", "on the LoRA's input while training", share),
  targets: {
    kind: "names",
    unit: "names",
    meaning: `comma list of ${allTargets.join(", ")}`,
    byDefault: "all",
    names: allTargets,
  },
  layers: {
    ...number("n", "last layers that are adapted; no gradient flows below them", { integer, min: 0 }),
    byDefault: "0, all of them",
  },
  init: {
    kind: "choice",
    unit: "name",
    meaning:
      "a fresh LoRA's first values of A, of which none changes the model: peft, random ones; weight, the directions that each weight amplifies most; input, those in which its inputs in the first chunk vary most",
    names: inits,
  },
  optimizer: {
    kind: "choice",
    unit: "name",
    meaning:
      "what makes steps of gradients: adamw, sgd or muon, the last two with --beta1 as their momentum; muon wants about four times the --lr of adamw, sgd about a hundred times",
    names: optimizerNames,
  },
  lr: number("rate", "peak learning rate", { min: 0, max: 1e3 }),
  loraplus_lr_ratio: number("times", "B's learning rate in times of A's (LoRA+)", { above: 0, max: 1e6 }),
  warmup: number("chunks", "linear warm-up of the rate, from 0 on the first chunk; 0 = none", {
    integer,
    min: 0,
  }),
  lr_timescale: {
    ...number("chunks", "the rate falls as 1 / √(1 + chunks read / this); 0 = it does not", {
      min: 0,
      max: 1e9,
    }),
    byDefault: "0",
  },
  epochs: number("n", "passes over a chunk", { integer, min: 0, max: 10_000 }),
  step_tokens: {
    ...number("tokens", "tokens that an optimiser step learns: a chunk in parts", { integer, min: 0 }),
    byDefault: "0, the whole chunk",
  },
  learn_below: {
    ...number("p", "learn only tokens that the model gave a smaller probability", { above: 0, max: 1 }),
    byDefault: "1, all tokens",
  },
  skip_below: {
    ...number("nats", "no step on tokens whose mean loss is below this", { min: 0, max: 1e3 }),
    byDefault: "0, a step on all",
  },
  context_loss: {
    kind: "switch",
    unit: "on|off",
    meaning:
      "on: the context's tokens are learnt with the chunk's, again and again; with --context-grad on only",
  },
  kl: {
    ...number(
      "weight",
      "adds so many times the divergence KL(frozen model ‖ adapted) of a learnt token to its loss; the frozen model reads each chunk for it",
      { min: 0, max: 1e6 },
    ),
    byDefault: "0, none",
  },
  replay: {
    ...number(
      "tokens",
      "each step also learns so many tokens in a row from a random place before the chunk, behind the one before them",
      { integer, min: 0 },
    ),
    byDefault: "0, none",
  },
  ema: {
    ...number(
      "decay",
      "score, write and save with an average of what is learnt, moving on by 1 - decay at each step; scoring is then a pass of its own, behind keys of its own",
      share,
    ),
    byDefault: "0, the newest values",
  },
  guard: {
    ...number(
      "percent",
      "undo an update where the next chunk's perplexity is then more than this much above the frozen model's",
      { min: 0, max: 1e6 },
    ),
    byDefault: "0, never",
  },
  context_grad: {
    kind: "switch",
    unit: "on|off",
    meaning: "off: the context's keys and values are constants while training; faster, approximate",
  },
  clip: number("norm", "largest global gradient norm, 0 = no clipping", { min: 0, max: 1e9 }),
  beta1: number("β", "decay of AdamW's first moment; the other optimisers' momentum", share),
  beta2: number("β", "decay of AdamW's second moment", share),
  eps: number("ε", "added to the root of AdamW's second moment", { above: 0, max: 1 }),
  weight_decay: number(
    "rate",
    "decoupled weight decay: the share of the rate that a value loses at each step",
    { min: 0, max: 1e3 },
  ),
};

const paper: Recipe = {
  adapt: "lora",
  rank: 64,
  alpha: 64,
  scaling: "lora",
  dropout: 0.05,
  targets: allTargets,
  layers: 0,
  init: "peft",
  optimizer: "adamw",
  lr: 5e-5,
  loraplus_lr_ratio: 1,
  warmup: 2,
  lr_timescale: 0,
  epochs: 2,
  step_tokens: 0,
  learn_below: 1,
  skip_below: 0,
  context_loss: false,
  kl: 0,
  replay: 0,
  ema: 0,
  guard: 0,
  context_grad: true,
  clip: 1,
  beta1: 0.9,
  beta2: 0.999,
  eps: 1e-7,
  weight_decay: 0,
};

/** One pass over a small chunk, whose forward pass is the one that scores it, behind keys that earlier chunks left: docs/log.md. */
const tuned: Recipe = {
  ...paper,
  ...{ alpha: 12.8, scaling: "weight", dropout: 0 }, // a scale of about 1 in SmolLM2
  ...{ lr: 4e-4, warmup: 0, epochs: 1, context_grad: false },
};

/** A recipe with how a text is read and written by it where nothing else is said, as far as the model allows (session_options.ts). */
interface Preset {
  readonly recipe: Recipe;
  /** Tokens. */
  readonly chunk: number;
  readonly window: number;
  /** Updates. */
  readonly reuseCache: number;
}

export const presets = {
  tuned: { recipe: tuned, chunk: 64, window: 960, reuseCache: 48 },
  paper: { recipe: paper, chunk: 1024, window: 3072, reuseCache: 0 },
} as const satisfies Record<string, Preset>;
export type RecipeName = keyof typeof presets;
export const recipeNames = Object.keys(presets) as RecipeName[];
/** Where none is named. */
export const DEFAULT_RECIPE: RecipeName = "tuned";
/** Where none is named, and the model writes: `tuned` was found on given text, and learns its own too eagerly (docs/log.md). */
export const WRITING_RECIPE: RecipeName = "paper";

export const recipes: Readonly<Record<RecipeName, Recipe>> = { tuned, paper };

/** Whether a training pass differs from one that scores: only a LoRA has dropout. */
export function dropsOut({ adapt, dropout }: Recipe): boolean {
  return adapt === "lora" && dropout > 0;
}

/** The same for a device that computes nothing, where each loss is 0: it takes its steps. */
export const counted = (recipe: Recipe): Recipe => ({ ...recipe, skip_below: 0 });

/** The alpha of a rank where nothing else is said: for a scale of 1, or of about 1 in SmolLM2. */
const usualAlpha: Readonly<Record<Scaling, (rank: number) => number>> = {
  lora: (rank) => rank,
  rslora: (rank) => Math.sqrt(rank),
  weight: (rank) => rank / 5,
};

/** `base` with `changes`, checked. Without an alpha another rank keeps the scale alpha / rank of `base`, and another scaling has its usual one. */
export function withChanges(base: Recipe, changes: Partial<Recipe>): Recipe {
  const unknown = Object.keys(changes).find((key) => !Object.hasOwn(recipeFields, key));
  if (unknown !== undefined) throw new BadInputError(`${unknown}: no such key of a recipe`);
  const { rank = base.rank, scaling = base.scaling } = changes;
  const usual = usualAlpha[scaling] as typeof usualAlpha.lora | undefined; // a caller may have said anything
  const { alpha = scaling === base.scaling ? (rank * base.alpha) / base.rank : usual?.(rank) } = changes;
  return checkRecipe({ ...base, ...changes, rank, scaling, alpha: alpha ?? base.alpha });
}

/** Returns the recipe; throws BadInputError, which names the key, for a value outside its limits. */
export function checkRecipe(recipe: Recipe): Recipe {
  for (const [key, field] of Object.entries<Field>(recipeFields)) {
    const value = (recipe as unknown as Readonly<Record<string, unknown>>)[key];
    if (!accepts(field, value)) {
      throw new BadInputError(
        `${key}: expected ${expected(field)}, not ${typeof value === "number" ? value : JSON.stringify(value)}`,
      );
    }
  }
  if (recipe.adapt === "norms" && recipe.optimizer === "muon")
    throw new BadInputError(
      "optimizer muon: its steps are matrices, and adapt norms learns vectors; take another",
    );
  if (recipe.context_loss && !recipe.context_grad)
    throw new BadInputError(
      "context_loss: where context_grad is off the context is constant, and nothing of it can be learnt; take context_grad on",
    );
  if (recipe.context_loss && recipe.step_tokens > 0)
    throw new BadInputError(
      "context_loss: step_tokens learns a chunk in parts, each of which would be the next one's context; take one of them",
    );
  if (recipe.ema > 0 && recipe.guard > 0)
    throw new BadInputError(
      "ema: a guard judges updates by the chunk that is scored after them, which an average hardly shows; take one of them",
    );
  return recipe;
}

function accepts(field: Field, value: unknown): boolean {
  switch (field.kind) {
    case "number":
      return typeof value === "number" && within(value, field.limits);
    case "names":
      return (
        Array.isArray(value) &&
        value.length > 0 &&
        value.every((name) => field.names.includes(name as string))
      );
    case "choice":
      return typeof value === "string" && field.names.includes(value);
    case "switch":
      return typeof value === "boolean";
  }
}

function expected(field: Field): string {
  switch (field.kind) {
    case "number":
      return inWords(field.limits);
    case "names":
      return `some of ${field.names.join(", ")}`;
    case "choice":
      return field.names.join(", ");
    case "switch":
      return "true or false";
  }
}

/**
 * Learning rate of chunk `index`: after a linear warm-up that moves on once for each chunk (0 on chunk 0 in the paper) constant, or falling as the
 * inverse root (transformers' get_inverse_sqrt_schedule, counted from the first chunk).
 */
export function learningRate({ lr, warmup, lr_timescale }: TrainingConfig, index: number): number {
  const falling = lr_timescale > 0 ? lr / Math.sqrt(1 + index / lr_timescale) : lr;
  return warmup > 0 ? falling * Math.min(1, index / warmup) : falling;
}
