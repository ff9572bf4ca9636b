/** `--recipe auto --budget 1.5x`: window and layers for what a token may cost (templora/auto.ts), as if they had been given. */
import { type Command, Option } from "commander";
import { BadInputError } from "../engine/errors.ts";
import type { ModelFiles } from "../model/model_files.ts";
import { chooseWithin } from "../templora/auto.ts";
import { recipeNames } from "../templora/config.ts";
import type { AdapterOptions } from "./adapters.ts";
import type { TempLoraOptions } from "./options.ts";
import type { Terminal } from "./output.ts";
import { choice } from "./parsers.ts";
import { resolveRecipe } from "./recipe.ts";

const AUTO = "auto";

/** As commander delivers them. */
export type AutoOptions<O> = Omit<O, "recipe"> & {
  readonly recipe?: TempLoraOptions["recipe"] | typeof AUTO;
  /** Times the frozen model's time. */
  readonly budget?: number;
};

/** For a command that has --recipe. */
export function addAutoOptions(command: Command): Command {
  const recipe = command.options.find(({ long }) => long === "--recipe");
  if (!recipe) throw new Error("the command has no --recipe");
  recipe.argParser(choice("--recipe", [...recipeNames, AUTO]));
  recipe.description += "; or auto, tuned with the window and layers that --budget pays";
  return command.addOption(
    new Option(
      "--budget <times>x",
      "with --recipe auto: how long a token may take with Temp-LoRA by count, in times of the frozen model alone, such as 1.5x",
    ).argParser(times),
  );
}

/** A parser for commander: 1.5x. */
function times(text: string): number {
  const value = /^(\d+\.?\d*|\.\d+)x$/i.test(text) ? parseFloat(text) : NaN;
  if (!(value > 0 && value <= 1e6))
    throw new BadInputError(
      `--budget ${text}: expected how many times the frozen model's time, such as 1.5x`,
    );
  return value;
}

/** What --recipe auto chooses. */
const chosen = { "--window": "window", "--train-window": "trainWindow", "--layers": "layers", "--chunk": "chunk", "--reuse-cache": "reuseCache" } as const; // prettier-ignore

/** The options without them, and the budget where there is one; throws where they do not go together. */
export function budgetOf<O extends TempLoraOptions & AdapterOptions>(
  given: AutoOptions<O>,
): { readonly options: O; readonly budget: number | null } {
  const { budget, recipe, ...rest } = given;
  const others = rest as unknown as O;
  if (recipe !== AUTO) {
    if (budget !== undefined)
      throw new BadInputError(`--budget ${budget}x: only --recipe auto has one; give that, too`);
    return { options: recipe === undefined ? others : { ...others, recipe }, budget: null };
  }
  if (budget === undefined)
    throw new BadInputError("--recipe auto: it chooses by what a token may cost; give --budget, such as --budget 1.5x"); // prettier-ignore
  for (const [flag, name] of Object.entries(chosen))
    if (others[name] !== undefined)
      throw new BadInputError(`${flag} ${others[name]}: --recipe auto chooses it; leave it out`);
  if (!others.templora)
    throw new BadInputError("--recipe auto: nothing reads it under --no-templora; leave one of them out");
  if (others.loadAdapter !== undefined)
    throw new BadInputError("--recipe auto: an adapter that is loaded has its own layers; leave --load-adapter out"); // prettier-ignore
  return { options: { ...others, recipe: "tuned" }, budget };
}

/** The options with what the budget pays, which stderr is told. */
export async function withinBudget<O extends TempLoraOptions>(
  options: O,
  budget: number,
  modelFiles: ModelFiles,
  terminal: Terminal,
): Promise<O> {
  const { recipe, windows, cost } = await chooseWithin(budget, modelFiles, resolveRecipe(options));
  const { num_hidden_layers: all } = modelFiles.config;
  terminal.note(
    `recipe auto: ${recipe.layers || all} of ${all} layers, window ${windows.window}: by count ${cost.toFixed(2)} of the frozen model's time, of at most ${budget}`,
  );
  return { ...options, layers: recipe.layers, window: windows.window };
}
