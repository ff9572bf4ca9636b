/** JOB.json: books × recipes × models, and how the texts are read. */
import { dirname, join, relative, resolve } from "node:path";
import { Command, CommanderError } from "commander";
import { BadInputError } from "../../engine/errors.ts";
import { whatIs } from "../../model/file.ts";
import { readJson } from "../../model/json_file.ts";
import { type Untrusted, asObject, asStrings, plain, show } from "../../model/untrusted.ts";
import { nearest } from "../nearest.ts";
import type { Io } from "../output.ts";
import { ppl } from "../ppl.ts";
import { textsIn } from "../texts.ts";

/** Flags of `templora ppl` without their dashes, and their values. */
export type Flags = Readonly<Record<string, string | number | boolean>>;

export interface JobFile {
  /** Where they are, and what they are called: as seen from the job file. */
  readonly texts: readonly { readonly path: string; readonly name: string }[];
  /** As --model takes them. */
  readonly models: readonly string[];
  /** How each text is read by each model: a recipe with the options of all. */
  readonly readings: readonly Flags[];
}

/** No job is longer: of a million texts by their names. */
const MAX_BYTES = 2 ** 26;

const keys = ["texts", "models", "recipes", "options"] as const;

export async function readJobFile(path: string): Promise<JobFile> {
  const job = asObject(await readJson(path, MAX_BYTES), path);
  const unknown = Object.keys(job).find((key) => !keys.some((known) => known === key));
  if (unknown !== undefined)
    throw new BadInputError(
      `${path}: ${plain(unknown)}: no key of a job (${keys.join(", ")})${nearest(unknown, keys)}`,
    );
  const list = (key: "texts" | "models"): string[] => {
    const names = asStrings(job[key], `${path}: ${key}`);
    if (names.length === 0 || names.includes(""))
      throw new BadInputError(`${path}: ${key}: an empty list, or an empty name`);
    return names;
  };
  const folder = dirname(path);
  const paths = textsIn(list("texts").map((name) => resolve(folder, name)));
  const options = flagsIn(job["options"] ?? {}, `${path}: options`);
  const recipes = job["recipes"] ?? [{}];
  if (!Array.isArray(recipes) || recipes.length === 0)
    throw new BadInputError(`${path}: recipes: expected a list of at least one, got ${show(recipes)}`);
  const readings = recipes.map((recipe, i) => ({ ...options, ...flagsIn(recipe, `${path}: recipes[${i}]`) }));
  readings.forEach((flags, i) => optionsOf(flags, `${path}: recipes[${i}]`));
  return {
    texts: paths.map((one) => ({ path: one, name: relative(resolve(folder), one).replaceAll("\\", "/") })),
    models: await Promise.all(
      list("models").map(async (name) =>
        (await whatIs(join(folder, name))) === "nothing" ? name : resolve(folder, name),
      ),
    ),
    readings,
  };
}

/** Flags of ppl that are the worker's, or name files of the machine that submits. */
const withheld = ["model", "device", "threads", "json", "quiet", "state", "resume", "report", "save-adapter", "load-adapter"]; // prettier-ignore

function flagsIn(value: unknown, where: string): Flags {
  const flags: Untrusted = asObject(value, where);
  for (const [key, given] of Object.entries(flags)) {
    if (!["string", "number", "boolean"].includes(typeof given))
      throw new BadInputError(
        `${where}: ${plain(key)}: expected text, a number, true or false, got ${show(given)}`,
      );
    if (withheld.includes(key)) throw new BadInputError(`${where}: ${key}: not for a job; leave it out`);
  }
  return flags as Flags;
}

/** {"lr": 1e-4, "baseline": false} → --lr 0.0001 --no-baseline */
export function argvOf(flags: Flags): string[] {
  return Object.entries(flags).flatMap(([key, value]) => {
    if (value === true) return [`--${key}`];
    return value === false ? [`--no-${key}`] : [`--${key}`, String(value)];
  });
}

/** What ppl's own parser makes of the flags, or its refusal. */
export function optionsOf(flags: Flags, where: string): Readonly<Record<string, unknown>> {
  const command = new Command("ppl").exitOverride().configureOutput({ writeErr: () => undefined });
  let options: Readonly<Record<string, unknown>> = {};
  ppl(command, noIo, []);
  command.action((_texts: unknown, given: Readonly<Record<string, unknown>>) => {
    options = given;
  });
  try {
    command.parse(["text", ...argvOf(flags)], { from: "user" });
  } catch (error) {
    if (!(error instanceof CommanderError) && !(error instanceof BadInputError)) throw error;
    throw new BadInputError(`${where}: ${error.message.replace(/^error: /, "").replaceAll("\n", " ")}`);
  }
  if (options["conventions"] === "llama-perplexity")
    throw new BadInputError(`${where}: conventions: llama-perplexity keeps no state, so not through a queue`);
  const { extend } = options as { extend?: { method: string } };
  if (extend?.method === "longrope")
    throw new BadInputError(`${where}: extend: a file of this machine; leave it out`);
  return options;
}

/** Nothing is run. */
const noIo = {} as Io;
