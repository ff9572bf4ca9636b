/** The flags of a recipe. Which keys are flags is decided here; names, units, limits and defaults come from templora/config.ts. */
import { type Command, Option } from "commander";
import { BadInputError } from "../engine/errors.ts";
import {
  DEFAULT_RECIPE,
  type Field,
  type Recipe,
  type RecipeName,
  recipeFields,
  recipeNames,
  recipes,
  withChanges,
} from "../templora/config.ts";
import type { StoredAdapter } from "../templora/stored_adapter.ts";
import { unreadUnder } from "../templora/unread.ts";
import { flagOf } from "./errors.ts";
import { nearest } from "./nearest.ts";
import { choice, number } from "./parsers.ts";

const flagged = [
  "adapt",
  "rank",
  "alpha",
  "scaling",
  "dropout",
  "init",
  "optimizer",
  "lr",
  "loraplus_lr_ratio",
  "warmup",
  "lr_timescale",
  "epochs",
  "step_tokens",
  "learn_below",
  "skip_below",
  "context_loss",
  "kl",
  "replay",
  "ema",
  "guard",
  "clip",
  "targets",
  "layers",
  "context_grad",
  "beta1",
  "beta2",
  "weight_decay",
] as const satisfies readonly (keyof Recipe)[];
type Flagged = (typeof flagged)[number];

/** context_grad → contextGrad, which is commander's name for the value of --context-grad. */
type Camel<S extends string> = S extends `${infer A}_${infer B}` ? `${A}${Capitalize<Camel<B>>}` : S;

/** context_grad → contextGrad */
export const camel = (key: string): string => key.replaceAll(/_(.)/g, (_, c: string) => c.toUpperCase());

/** Those that take one value and no comma list, by commander's names. */
export const singleFlags: readonly string[] = flagged
  .filter((key) => recipeFields[key].kind !== "names")
  .map(camel);

/** As commander delivers them: undefined = not given. */
export type RecipeOptions = { readonly recipe?: RecipeName } & {
  readonly [K in Flagged as Camel<K>]?: Recipe[K];
};

/** `fallback`: the recipe where none is named. */
export function addRecipeOptions(command: Command, fallback: RecipeName): Command {
  command.addOption(
    new Option(
      "--recipe <name>",
      `values of these options: ${recipeNames.join(", ")} (default: ${fallback})`,
    ).argParser((text) => {
      if (text === "auto") throw new BadInputError("--recipe auto: only ppl chooses by a budget");
      return choice("--recipe", recipeNames)(text);
    }),
  );
  for (const key of flagged) command.addOption(recipeOption(key));
  return command;
}

/**
 * The flag of one key of a recipe. Without a `preset` the value is the named recipe's, and the help shows each recipe's; `scope`
 * is put before its meaning in the help.
 */
export function recipeOption<K extends Flagged>(key: K, preset?: Recipe[K], scope = ""): Option {
  const field: Field = recipeFields[key];
  const flag = flagOf(key);
  const fallback =
    preset === undefined
      ? ` (default: ${field.byDefault ?? byRecipe((name) => inHelp(recipes[name][key]))})`
      : "";
  const option = new Option(`${flag} <${field.unit}>`, `${scope}${field.meaning}${fallback}`);
  option.argParser(parser(flag, field));
  return preset === undefined ? option : option.default(preset, inHelp(preset));
}

/** A default in words: that of all recipes, or of each. */
export function byRecipe(of: (name: RecipeName) => string): string {
  const [first = "", ...others] = recipeNames.map(of);
  if (others.every((other) => other === first)) return first;
  return recipeNames.map((name) => `${of(name)} in ${name}`).join(", ");
}

type LearningFlags = RecipeOptions & { readonly templora?: boolean };

/** The named recipe with what the flags change. Throws for a flag that nothing reads; under --no-templora, the same command without learning, any will do. */
export function resolveRecipe(options: LearningFlags, adapter: StoredAdapter | null = null): Recipe {
  const recipe = recipeOf(options, adapter);
  for (const key of flagged) {
    const under =
      valueOf(options, key) === undefined || options.templora === false ? null : unreadFlag(key, recipe);
    if (under !== null)
      throw new BadInputError(`${flagOf(key)}: nothing reads it under ${under}; leave one of them out`);
  }
  return recipe;
}

/** The same with flags that other cells of a table read. Rank, alpha and targets of a loaded adapter hold: a flag may not say otherwise. */
export function recipeOf(options: RecipeOptions, adapter: StoredAdapter | null = null): Recipe {
  const given: Partial<Recipe> = Object.fromEntries(
    flagged.map((key) => [key, valueOf(options, key)] as const).filter(([, value]) => value !== undefined),
  );
  const { recipe = DEFAULT_RECIPE } = options;
  adapter?.assertAgrees(given, flagOf);
  return withChanges({ ...recipes[recipe], ...adapter?.recipe }, given);
}

const valueOf = (options: RecipeOptions, key: Flagged): unknown =>
  (options as Readonly<Record<string, unknown>>)[camel(key)];

/** The flag under which nothing reads that of `key`; null where something does. */
function unreadFlag(key: Flagged, recipe: Recipe): string | null {
  const [other, value] = unreadUnder(key, recipe) ?? [];
  return other === undefined ? null : `${flagOf(other)} ${value}`;
}

/** The same by commander's name of a flag; other flags than a recipe's are always read. */
export function unread(name: string, recipe: Recipe): string | null {
  const key = flagged.find((one) => camel(one) === name);
  return key === undefined ? null : unreadFlag(key, recipe);
}

function parser(flag: string, field: Field): (text: string) => unknown {
  switch (field.kind) {
    case "number":
      return number(flag, field.limits);
    case "choice":
      return choice(flag, field.names);
    case "switch": {
      const onOff = choice(flag, ["on", "off"]);
      return (text) => onOff(text) === "on";
    }
    case "names":
      return names(flag, field.names);
  }
}

/** Parses a comma list of known names; returns them in the order of `known`. */
function names(flag: string, known: readonly string[]): (text: string) => string[] {
  return (text) => {
    const wanted = text.split(",").map((name) => name.trim());
    const unknown = wanted.find((name) => !known.includes(name));
    if (unknown === undefined) return known.filter((name) => wanted.includes(name));
    throw new BadInputError(
      `${flag} ${text}: unknown "${unknown}"${nearest(unknown, known)}; known are ${known.join(", ")}`,
    );
  };
}

function inHelp(value: Recipe[Flagged]): string {
  if (typeof value === "boolean") return value ? "on" : "off";
  return typeof value === "number" && value > 0 && value < 1e-3 ? value.toExponential() : String(value);
}

/** The flag of each key, by commander's name. */
export const recipeFlags: Readonly<Record<string, string>> = Object.fromEntries(
  flagged.map((key) => [camel(key), flagOf(key)]),
);
