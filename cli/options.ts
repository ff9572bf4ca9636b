/** The flags that commands share: one place for their names, units, defaults and limits. */
import { type Command, Option } from "commander";
import { BadInputError } from "../engine/errors.ts";
import { type DeviceChoice, deviceChoices } from "../engine/backends/open.ts";
import { type Recipe, type Target, allTargets, recipes } from "../templora/config.ts";
import { nearest } from "./nearest.ts";

const MAX_U32 = 2 ** 32 - 1;
/** Positions, token counts and the like: what an i32 holds. */
const MAX_COUNT = 2 ** 31 - 1;
const DEFAULT_WINDOW = 3072;
const onOff = ["on", "off"] as const;
type OnOff = (typeof onOff)[number];

interface Limits {
  readonly integer?: boolean;
  readonly min?: number;
  readonly max?: number;
  /** The bound itself is not allowed. */
  readonly above?: number;
  readonly below?: number;
}

/** What a flag's text must be, in words; the words are the error message too. */
function inWords({ integer, min, max, above, below }: Limits): string {
  const bounds: string[] = [];
  if (min !== undefined) bounds.push(`at least ${min}`);
  if (above !== undefined) bounds.push(`above ${above}`);
  if (max !== undefined && max < MAX_COUNT) bounds.push(`at most ${max}`);
  if (below !== undefined) bounds.push(`below ${below}`);
  return [integer ? "a whole number" : "a number", bounds.join(" and ")].filter(Boolean).join(", ");
}

/** A parser for commander: finite decimal numbers within limits. */
function number(flag: string, limits: Limits): (text: string) => number {
  const {
    integer = false,
    min = -Infinity,
    max = integer ? MAX_COUNT : Infinity,
    above = -Infinity,
    below = Infinity,
  } = limits;
  return (text) => {
    const value = /^[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$/i.test(text.trim()) ? Number(text) : NaN;
    const fits = value >= min && value <= max && value > above && value < below && Number.isFinite(value);
    if (!fits || (integer && !Number.isInteger(value))) {
      const limit = integer && value > MAX_COUNT ? `, at most ${max}` : "";
      throw new BadInputError(`${flag} ${text}: expected ${inWords(limits)}${limit}`);
    }
    return value;
  };
}

function choice<T extends string>(flag: string, choices: readonly T[]): (text: string) => T {
  return (text) => {
    const found = choices.find((c) => c === text);
    if (found === undefined) {
      throw new BadInputError(`${flag} ${text}: expected ${choices.join(", ")}${nearest(text, choices)}`);
    }
    return found;
  };
}

function targets(text: string): Target[] {
  const wanted = new Set(text.split(",").map((name) => name.trim()));
  for (const name of wanted) {
    if (!allTargets.some((t) => t === name)) {
      throw new BadInputError(
        `--targets ${text}: unknown "${name}"${nearest(name, allTargets)}; known are ${allTargets.join(", ")}`,
      );
    }
  }
  return allTargets.filter((t) => wanted.has(t));
}

/** A numeric option of one command. */
export function numeric(flags: string, description: string, limits: Limits): Option {
  const [flag = flags] = flags.split(" ");
  return new Option(flags, description).argParser(number(flag, limits));
}

export interface CommonOptions {
  readonly model?: string;
  readonly device: DeviceChoice;
  readonly threads?: number;
  readonly seed: number;
  readonly json?: string;
  readonly quiet?: boolean;
}

/** --json and --quiet. */
export function addOutputOptions(command: Command): Command {
  return command
    .optionsGroup("Output:")
    .option("--json <file>", "write JSON lines to a file as the run goes; - is stdout")
    .option("--quiet", "no progress and no notes on stderr")
    .addHelpOption(new Option("--help", "print help"));
}

/** Everything that every command with a model takes. */
export function addCommonOptions(command: Command): Command {
  command
    .optionsGroup("Model and device:")
    .option(
      "--model <model>",
      "Hugging Face folder, .gguf file, or the name of a fetched model (smollm2-135m)",
    )
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
      numeric("--seed <n>", "of every random choice; same seed and device, same bits", {
        integer: true,
        min: 0,
        max: MAX_U32,
      }).default(0),
    );
  return addOutputOptions(command);
}

/** As commander delivers them: undefined = not given. */
export interface TempLoraOptions {
  readonly chunk: number;
  readonly window?: number;
  readonly trainWindow?: number;
  readonly recipe: keyof typeof recipes;
  readonly rank?: number;
  readonly alpha?: number;
  readonly dropout?: number;
  readonly lr?: number;
  readonly warmup?: number;
  readonly epochs?: number;
  readonly clip?: number;
  readonly targets?: Target[];
  readonly contextGrad?: OnOff;
  readonly checkpointLayers: number;
  readonly reuseCache: number;
  readonly templora: boolean;
  readonly baseline: boolean;
}

export function addTempLoraOptions(command: Command): Command {
  const r = recipes.paper;
  const integer = true;
  return command
    .optionsGroup("Temp-LoRA (defaults are the paper's):")
    .addOption(
      numeric("--chunk <tokens>", "tokens between two updates of the adapter (Δ)", {
        integer,
        min: 2,
      }).default(1024),
    )
    .addOption(
      numeric(
        "--window <tokens>",
        `context tokens before a chunk when reading or writing (default: ${DEFAULT_WINDOW}, or what the model's positions leave)`,
        { integer, min: 0 },
      ),
    )
    .addOption(
      numeric("--train-window <tokens>", "context tokens when training (default: --window)", {
        integer,
        min: 0,
      }),
    )
    .addOption(
      new Option("--recipe <name>", "values of the options below: paper")
        .argParser(choice("--recipe", Object.keys(recipes) as (keyof typeof recipes)[]))
        .default("paper", "paper"),
    )
    .addOption(
      numeric("--rank <r>", `rank of the adapter (default: ${r.rank})`, { integer, min: 1, max: 4096 }),
    )
    .addOption(
      numeric(
        "--alpha <a>",
        "the adapter's scale is alpha / rank (default: the rank, for the paper's scale of 1)",
        { above: 0, max: 1e6 },
      ),
    )
    .addOption(
      numeric("--dropout <p>", `on the adapter's input while training (default: ${r.dropout})`, {
        min: 0,
        below: 1,
      }),
    )
    .addOption(
      numeric("--lr <rate>", `peak learning rate (default: ${r.lr.toExponential()})`, { min: 0, max: 1e3 }),
    )
    .addOption(
      numeric(
        "--warmup <chunks>",
        `linear warm-up of the rate, from 0 on the first chunk; 0 = none (default: ${r.warmup})`,
        {
          integer,
          min: 0,
        },
      ),
    )
    .addOption(
      numeric("--epochs <steps>", `optimiser steps a chunk (default: ${r.epochs})`, {
        integer,
        min: 0,
        max: 10_000,
      }),
    )
    .addOption(
      numeric("--clip <norm>", `largest global gradient norm, 0 = no clipping (default: ${r.clip})`, {
        min: 0,
        max: 1e9,
      }),
    )
    .option("--targets <names>", `comma list of ${allTargets.join(", ")} (default: all)`, targets)
    .addOption(
      new Option(
        "--context-grad <on|off>",
        "off: the context's keys and values are constants while training; faster, approximate (default: on)",
      ).argParser(choice("--context-grad", onOff)),
    )
    .addOption(
      numeric(
        "--checkpoint-layers <n>",
        "first layers whose activations are computed again in the backward: less memory, more time, the same numbers",
        { integer, min: 0 },
      ).default(0),
    )
    .addOption(
      numeric(
        "--reuse-cache <k>",
        "updates that cached keys and values outlive (generate; ppl with --context-grad off); 0 = recompute after each",
        {
          integer,
          min: 0,
          max: 1_000_000,
        },
      ).default(0),
    )
    .option("--no-templora", "the frozen base model only")
    .option("--no-baseline", "the adapted model only");
}

/** The named recipe with what the flags change. */
export function resolveRecipe(o: TempLoraOptions): Recipe {
  const base = recipes[o.recipe];
  return {
    ...base,
    rank: o.rank ?? base.rank,
    alpha: o.alpha ?? (o.rank === undefined ? base.alpha : (o.rank * base.alpha) / base.rank),
    dropout: o.dropout ?? base.dropout,
    targets: o.targets ?? base.targets,
    lr: o.lr ?? base.lr,
    warmup: o.warmup ?? base.warmup,
    epochs: o.epochs ?? base.epochs,
    context_grad: o.contextGrad === undefined ? base.context_grad : o.contextGrad === "on",
    clip: o.clip ?? base.clip,
  };
}

/** --checkpoint-layers of a model with so many blocks. */
export function resolveCheckpointLayers({ checkpointLayers: n }: TempLoraOptions, layers: number): number {
  if (n > layers) {
    throw new BadInputError(`--checkpoint-layers ${n}: the model has ${layers} layers`);
  }
  return n;
}

export interface Windows {
  readonly chunk: number;
  readonly window: number;
  readonly trainWindow: number;
}

/**
 * Windows that the model's positions hold, or an error that says which flag to lower. `reserve` is how many chunks share
 * the positions with the window: 1, and one more for each update that a cache outlives.
 */
export function resolveWindows(o: TempLoraOptions, positions: number, reserve = 1): Windows {
  const { chunk } = o;
  const room = positions - chunk * reserve;
  const chunks =
    reserve === 1 ? `--chunk ${chunk}` : `${reserve} × --chunk ${chunk} (--reuse-cache ${reserve - 1})`;
  if (room < 0) {
    throw new BadInputError(
      `${chunks} does not fit the model's ${positions} positions; choose --chunk at most ${Math.floor(positions / reserve)}`,
    );
  }
  const window = o.window ?? Math.min(DEFAULT_WINDOW, room);
  const trainWindow = o.trainWindow ?? window;
  const check = (flag: string, value: number, most: number, beside: string): void => {
    if (value > most) {
      throw new BadInputError(
        `${flag} ${value} and ${beside} exceed the model's ${positions} positions; choose ${flag} at most ${most}`,
      );
    }
  };
  check("--window", window, room, chunks);
  check("--train-window", trainWindow, positions - chunk, `--chunk ${chunk}`);
  return { chunk, window, trainWindow };
}
