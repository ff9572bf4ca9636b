/** `templora sweep`: reads texts with every combination of given values, and shows what each gains and costs. */
import type { Command } from "commander";
import { BadInputError } from "../engine/errors.ts";
import { type TableOptions, addTableOptions, runTable } from "./cells.ts";
import {
  type Define,
  type MethodOptions,
  type TempLoraOptions,
  addCommonOptions,
  addMemoryOptions,
  type MemoryOptions,
  resolveMemory,
  addMethodOptions,
  addTempLoraOptions,
  resolveWindows,
} from "./options.ts";
import type { Io } from "./output.ts";
import { recipeOf, singleFlags, unread } from "./recipe.ts";
import { servingWindows } from "./session.ts";

/** The flags that take several values, by commander's names: those that the frozen model sees, and those of a recipe. */
const windowDials = ["chunk", "window", "knn"] as const;
const recipeDials: readonly string[] = ["trainWindow", "recipe", ...singleFlags];
const dials: readonly string[] = [...windowDials, ...recipeDials];

/** As commander delivers them: a list for each dial that is given. */
type SweepOptions = TableOptions & MethodOptions & Readonly<Record<string, unknown>>;

export const sweep: Define = (command, io, argv) => {
  command
    .description(
      "Reads texts with every combination of the values that are given, with commas between: --window 256,512 --lr 1e-4,5e-4 makes " +
        `four cells. Beside them stands the frozen model with each of the windows. Flags that take several values: ${dials.map(flagOf).join(", ")}.`,
    )
    .argument("<text...>", "UTF-8 files, or folders of .txt files");
  takeLists(addMemoryOptions(addTempLoraOptions(addMethodOptions(addCommonOptions(command)))));
  addTableOptions(command)
    .addHelpText(
      "after",
      "\nExample:\n  templora sweep moby-dick.txt --model smollm2-135m --max-tokens 8192 --window 256,960,1920 --lr 2e-4,4e-4\n",
    )
    .action((texts: string[], options: SweepOptions) => run(texts, options, io, argv));
};

const flagOf = (dial: string): string =>
  `--${dial.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)}`;

/** Each dial takes a comma list. */
function takeLists(command: Command): void {
  for (const option of command.options) {
    const one = option.parseArg as ((text: string) => unknown) | undefined;
    if (!one || !dials.includes(option.attributeName())) continue;
    command.setOptionValueWithSource(option.attributeName(), undefined, "default");
    option.argParser((text) => {
      const values = text.split(",").map((value) => one(value.trim()));
      if (new Set(values).size < values.length)
        throw new BadInputError(`${option.long ?? ""} ${text}: a value stands there twice`);
      return values;
    });
  }
}

async function run(
  texts: readonly string[],
  options: SweepOptions,
  io: Io,
  argv: readonly string[],
): Promise<void> {
  const given = dials.filter((dial) => options[dial] !== undefined);
  const list = (dial: string): unknown[] => options[dial] as unknown[];
  let grid: SweepOptions[] = [options];
  for (const dial of given)
    grid = grid.flatMap((each) => list(dial).map((value) => ({ ...each, [dial]: value })));
  const each = grid as unknown as (TableOptions &
    TempLoraOptions &
    MemoryOptions &
    Readonly<Record<string, unknown>>)[];
  const varying = given.filter((dial) => list(dial).length > 1);
  const idle = varying.find((dial) => recipeDials.includes(dial));
  if (!options.templora && idle !== undefined)
    throw new BadInputError(`${flagOf(idle)}: nothing reads its values under --no-templora`);
  // before the model is opened: each value must make a difference in some cell, and several in every cell
  for (const dial of given) {
    const found = each.map((cell) => unread(dial, recipeOf(cell)));
    const under = found.find((one) => one !== null);
    if (under !== undefined && (varying.includes(dial) || !found.includes(null)))
      throw new BadInputError(`${flagOf(dial)}: nothing reads its values under ${under}`);
  }
  const remembers = each.some(({ knn = 0 }) => knn !== 0);
  for (const cell of each) resolveMemory(cell, remembers);
  await runTable(texts, options, io, {
    ...{ name: "sweep", argv },
    facts: { grid: Object.fromEntries(given.map((dial) => [words(dial).replaceAll(" ", "_"), list(dial)])) },
    cells: (modelFiles) =>
      each.map((cell) => {
        const recipe = recipeOf(cell);
        const windows = resolveWindows(cell, recipe, modelFiles.config);
        const values = (names: readonly string[]): Record<string, string> =>
          Object.fromEntries(
            varying.filter((dial) => names.includes(dial)).map((dial) => [words(dial), shown(cell[dial])]),
          );
        return {
          ...{ reading: values(windowDials), learning: values(recipeDials), facts: {} },
          ...{ modelFiles: servingWindows(modelFiles, windows), windows, recipe },
          memory: resolveMemory(cell, remembers),
        };
      }),
  });
}

/** trainWindow → train window */
const words = (dial: string): string => dial.replaceAll(/[A-Z]/g, (c) => ` ${c.toLowerCase()}`);
const shown = (value: unknown): string =>
  typeof value === "boolean" ? (value ? "on" : "off") : String(value);
