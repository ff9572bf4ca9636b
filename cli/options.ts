/** The flags that commands share: one place for their names, units, defaults and limits. */
import { type Command, Option } from "commander";
import { type DeviceChoice, deviceChoices } from "../engine/backends/open.ts";
import { BadInputError } from "../engine/errors.ts";
import type { ModelConfig } from "../model/config.ts";
import { type Extension, extensionMethods } from "../model/extend.ts";
import type { Attention } from "../model/reach.ts";
import { DEFAULT_RECIPE, type Recipe, type RecipeName, presets } from "../templora/config.ts";
import type { Share } from "../templora/neighbours.ts";
import { KNN_TOKENS, type Memory, type Windows, windowsOf } from "../templora/session_options.ts";
import type { Io } from "./output.ts";
import { attention, choice, extension, memoryShare, numeric } from "./parsers.ts";
import { type RecipeOptions, addRecipeOptions, byRecipe } from "./recipe.ts";

const MAX_U32 = 2 ** 32 - 1;

/** What a command's file exports: adds description, arguments and options to the command, and what to run. `argv`: the command line. */
export type Define = (command: Command, io: Io, argv: readonly string[]) => void;

export interface ModelOptions {
  readonly model?: string;
}

export interface CommonOptions extends ModelOptions {
  readonly device: DeviceChoice;
  readonly threads?: number;
  readonly seed: number;
  readonly json?: string;
  readonly quiet?: boolean;
}

/** --json and --quiet. */
export function addOutputOptions(command: Command): Command {
  return addQuietOption(
    command
      .optionsGroup("Output:")
      .option(
        "--json <file>",
        "write JSON lines to a file, which grows as FILE.part until the end; - is stdout",
      ),
  );
}

/** --quiet and --help. */
export function addQuietOption(command: Command): Command {
  return command
    .option("--quiet", "no progress and no notes on stderr")
    .addHelpOption(new Option("--help", "print help"));
}

/** --model. */
export function addModelOption(command: Command): Command {
  return command.option(
    "--model <model>",
    "Hugging Face folder, .gguf file, or what templora pull has fetched: ORG/NAME[:FILE or :Q4_K_M], smollm2-135m, gemma3-270m",
  );
}

/** What every command that runs a model takes. */
export function addCommonOptions(command: Command): Command {
  addModelOption(command.optionsGroup("Model and device:"))
    .addOption(
      new Option(
        "--device <device>",
        "auto, cpu or webgpu; auto takes WebGPU on a hardware adapter, else cpu",
      )
        .argParser(choice("--device", deviceChoices))
        .default("auto", "auto"),
    )
    .addOption(
      numeric("--threads <n>", "CPU threads (default: all cores)", { integer: true, min: 1, max: 256 }),
    )
    .addOption(
      numeric(
        "--seed <n>",
        "seed of every random choice; the same seed, device and build give the same bits",
        {
          integer: true,
          min: 0,
          max: MAX_U32,
        },
      ).default(0),
    );
  return addOutputOptions(command);
}

export interface TextOptions {
  readonly special?: boolean;
}

export const specialOption = [
  "--special",
  "what spells a special token in a text (<|im_start|> and the like) is that token (default: it is text)",
] as const;

/** As commander delivers them: undefined = not given. */
export interface LearningOptions extends RecipeOptions {
  readonly checkpointLayers: number;
  readonly templora: boolean;
}

export interface MethodOptions {
  readonly extend?: Extension;
  readonly attention?: Attention;
}

export interface TempLoraOptions extends LearningOptions {
  readonly chunk?: number;
  readonly window?: number;
  readonly trainWindow?: number;
  readonly reuseCache?: number;
}

/** Other methods for long texts than Temp-LoRA. */
export function addMethodOptions(command: Command): Command {
  return command
    .optionsGroup("Other positions and attention than the model's:")
    .addOption(
      new Option(
        "--extend <method:factor>",
        `as many times more, RoPE stretched by ${extensionMethods.join(", ")}, such as yarn:4; or longrope:FILE, a JSON file of divisors that were searched for the model ` +
          "(those that bring their own have them without this)",
      ).argParser(extension("--extend")),
    )
    .addOption(
      new Option(
        "--attention <method>",
        "sliding:N: a query sees the last N tokens only, itself among them; streaming:S+W: the first S and the last W, any number of positions; " +
          "self-extend:G,W: everything, what is W tokens back or further in groups of G that share a position (default: full, as the model was made)",
      ).argParser(attention("--attention")),
    );
}

/** The first token of a text has no score. */
const LEAST_CHUNK = 2;

/** `fallback`: the recipe where none is named. */
export function addTempLoraOptions(command: Command, fallback: RecipeName = DEFAULT_RECIPE): Command {
  const integer = true;
  command
    .optionsGroup("Temp-LoRA:")
    .addOption(
      numeric(
        "--chunk <tokens>",
        `tokens between two updates of the adapter, Δ (default: ${byRecipe((name) => String(presets[name].chunk))}; or half of the model's positions where they are fewer)`,
        { integer, min: LEAST_CHUNK },
      ),
    )
    .addOption(
      numeric(
        "--window <tokens>",
        `context tokens before a chunk when reading or writing (default: ${byRecipe((name) => String(presets[name].window))}; or what the model's positions leave where that is less)`,
        { integer, min: 0 },
      ),
    )
    .addOption(
      numeric("--train-window <tokens>", "context tokens when training (default: --window)", {
        integer,
        min: 0,
      }),
    );
  return addLearningOptions(command, fallback).addOption(
    numeric(
      "--reuse-cache <k>",
      `keep cached keys and values for k updates before they are computed anew (generate; other commands with --context-grad off; default: ${byRecipe((name) => String(presets[name].reuseCache))}, or as many as the model's positions allow)`,
      { integer, min: 0, max: 1_000_000 },
    ),
  );
}

export interface MemoryOptions {
  readonly knn?: Share;
  readonly knnTokens?: number;
}

/** A memory without training, as a neighbour of Temp-LoRA. */
export function addMemoryOptions(command: Command): Command {
  return command
    .optionsGroup("A memory beside the model, frozen or adapted:")
    .addOption(
      new Option(
        "--knn <share>",
        "share that the stored hidden states nearest to a token's own have in its probability: the tokens that came after them (kNN-LM), from 0 to below 1; or auto, by what has done best so far (default: 0, no memory)",
      ).argParser(memoryShare("--knn", { min: 0, below: 1 })),
    )
    .addOption(knnTokensOption());
}

export const knnTokensOption = (): Option =>
  numeric("--knn-tokens <n>", `newest tokens whose hidden states are stored (default: ${KNN_TOKENS})`, {
    integer: true,
    min: 1,
  });

/** `elsewhere`: --knn-tokens is for other cells of a table, too. */
export function resolveMemory({ knn = 0, knnTokens }: MemoryOptions, elsewhere = false): Memory {
  if (knn === 0 && knnTokens !== undefined && !elsewhere)
    throw new BadInputError("--knn-tokens: nothing reads it without --knn; leave it out, or give --knn, too");
  return { knn, knnTokens: knn === 0 ? KNN_TOKENS : (knnTokens ?? KNN_TOKENS) };
}

/** How an adapter learns, wherever its texts come from. */
export function addLearningOptions(command: Command, fallback: RecipeName = DEFAULT_RECIPE): Command {
  return addRecipeOptions(command, fallback)
    .addOption(
      numeric(
        "--checkpoint-layers <n>",
        "first layers whose activations are computed again in the backward: less memory, more time, the same numbers",
        { integer: true, min: 0 },
      ).default(0),
    )
    .option("--no-templora", "the frozen base model only");
}

/** --max-tokens, of each text. */
export const maxTokensOption = (): Option =>
  numeric("--max-tokens <n>", "read at most this many tokens of each text (default: all)", {
    integer: true,
    min: 2,
  });

export interface StateOptions {
  readonly state?: string;
  readonly resume?: boolean;
}

export function addStateOptions(command: Command): Command {
  return command
    .optionsGroup("Interruption:")
    .option("--state <file>", "where Ctrl-C keeps the run's state (default: the cache folder)")
    .option("--resume", "go on from there; the output is that of an uninterrupted run");
}

/** --checkpoint-layers must not exceed the model's layers. */
export function checkCheckpointLayers(
  { checkpointLayers: n }: Pick<LearningOptions, "checkpointLayers">,
  layers: number,
): void {
  if (n > layers) throw new BadInputError(`--checkpoint-layers ${n}: the model has ${layers} layers`);
}

/**
 * Windows that the model's positions hold, or an error that says which flag to lower. Where a text is written (`writes`), the positions
 * are shared by the window, at least one token of it, and as many chunks as a cache serves for; else by the window and a chunk.
 */
export function resolveWindows(
  o: TempLoraOptions,
  recipe: Recipe,
  config: ModelConfig,
  writes = false,
): Windows {
  const { longer, layers } = config;
  if (o.reuseCache && layers.some(({ far }) => far) && !(writes && recipe.context_grad))
    throw new BadInputError(
      `--reuse-cache ${o.reuseCache}: with --attention streaming or self-extend far keys would change their places in a cache that slides; leave it out`,
    );
  const found = windowsOf(o, config, recipe, { writes, ...(o.recipe && { name: o.recipe }) });
  const { chunk, window, trainWindow, reuseCache } = found;
  const positions = longer?.max_position_embeddings ?? config.max_position_embeddings;
  const [chunks, context] = writes ? [o.templora ? reuseCache + 1 : 1, 1] : [1, 0];
  const room = positions - chunk * chunks;
  const taken =
    chunks === 1 ? `--chunk ${chunk}` : `${chunks} × --chunk ${chunk} (--reuse-cache ${chunks - 1})`;
  if (room < context) {
    const beside = context > 0 ? ` beside ${context} of context` : "";
    const most = Math.floor((positions - context) / chunks);
    const advice = most < LEAST_CHUNK ? "" : `; choose --chunk at most ${most}`;
    throw new BadInputError(`${taken} does not fit the model's ${positions} positions${beside}${advice}`);
  }
  const check = (flag: string, value: number, most: number, beside: string): void => {
    if (value > most) {
      throw new BadInputError(
        `${flag} ${value} and ${beside} exceed the model's ${positions} positions; choose ${flag} at most ${most}`,
      );
    }
  };
  check("--window", window, room, taken);
  check("--train-window", trainWindow, positions - chunk, `--chunk ${chunk}`);
  return found;
}
