/** JOB.json: books × recipes × models, and how the texts are read. */
import { dirname, join, relative, resolve } from "node:path";
import { BadInputError } from "../../engine/errors.ts";
import { whatIs } from "../../model/file.ts";
import { jsonOf, jsonParts } from "../../model/json_file.ts";
import { asObject, asStrings, plain, show } from "../../model/untrusted.ts";
import { nearest } from "../nearest.ts";
import type { Io } from "../output.ts";
import { untilStopped } from "../signals.ts";
import { textsIn } from "../texts.ts";
import { type Flags, optionsOf } from "./flags.ts";

export interface JobFile {
  /** Where they are, and what they are called: as seen from the job file. */
  readonly texts: readonly { readonly path: string; readonly name: string }[];
  /** As --model takes them. */
  readonly models: readonly string[];
  /** How each text is read by each model: a recipe with the options of all, and where it stands, for errors. */
  readonly readings: readonly { readonly flags: Flags; readonly where: string }[];
}

/** No job is longer: of a million texts by their names. */
const MAX_BYTES = 2 ** 26;

const keys = ["texts", "models", "recipes", "options"] as const;

export async function readJobFile(path: string, io: Io): Promise<JobFile> {
  const job = asObject(await jsonOf(untilStopped(jsonParts(path, MAX_BYTES), io), path), path);
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
  const flagsIn = (value: unknown, where: string): Flags => {
    optionsOf(value, where);
    return value as Flags;
  };
  const options = flagsIn(job["options"] ?? {}, `${path}: options`);
  const recipes = job["recipes"] ?? [{}];
  if (!Array.isArray(recipes) || recipes.length === 0)
    throw new BadInputError(`${path}: recipes: expected a list of at least one, got ${show(recipes)}`);
  const readings = recipes.map((recipe, i) => {
    const where = job["recipes"] === undefined ? path : `${path}: recipes[${i}]`;
    return { flags: { ...options, ...flagsIn(recipe, where) }, where };
  });
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
