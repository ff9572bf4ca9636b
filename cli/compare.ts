/** `templora compare`: reads texts with one method for long texts after the other, each without and with Temp-LoRA. */
import { Option } from "commander";
import { BadInputError } from "../engine/errors.ts";
import type { ModelConfig } from "../model/config.ts";
import { extensionMethods } from "../model/extend.ts";
import type { Cell } from "./cell_table.ts";
import { type TableOptions, addTableOptions, runTable } from "./cells.ts";
import {
  type Define,
  type MemoryOptions,
  type MethodOptions,
  type TempLoraOptions,
  addCommonOptions,
  addTempLoraOptions,
  knnTokensOption,
  resolveMemory,
  resolveWindows,
} from "./options.ts";
import type { Io } from "./output.ts";
import { attention, attentionMethods, choice, extension, memoryShare, numeric } from "./parsers.ts";
import { resolveRecipe } from "./recipe.ts";
import { servingWindows, withMethod } from "./session.ts";

interface Method extends MethodOptions, MemoryOptions {
  readonly name: string;
}

type CompareOptions = TableOptions &
  TempLoraOptions &
  Pick<MemoryOptions, "knnTokens"> & { readonly method?: readonly Method[] };

/** The model as it is. */
const full: Method = { name: "full" };

export const compare: Define = (command, io, argv) => {
  command
    .description(
      "Reads texts with one method for long texts after the other, each with the frozen model and with Temp-LoRA: one row of a table for each.",
    )
    .argument("<text...>", "UTF-8 files, or folders of .txt files");
  addCommonOptions(command)
    .optionsGroup("Methods:")
    .addOption(
      new Option(
        "--method <name>",
        `full (the model as it is, which stands first in any case), a value of --extend (${extensionMethods.join(", ")}, such as yarn:4; longrope:FILE) or of --attention (such as streaming:4+252), or knn:SHARE, a memory of hidden states (such as knn:0.05, or knn:auto); give it again for more`,
      ).argParser((text, before: readonly Method[] = []) => [...before, methodOf(text)]),
    )
    .addOption(knnTokensOption());
  addTableOptions(addTempLoraOptions(command))
    .addOption(
      numeric(
        "--generate <tokens>",
        "tokens that each writes where a text ends, greedily, with a repetition penalty of 1.12",
        {
          integer: true,
          min: 1,
        },
      ),
    )
    .addHelpText(
      "after",
      "\nExample:\n  templora compare moby-dick.txt --model gemma3-270m --max-tokens 8192 --chunk 512 --window 2048 --method sliding:1024 --method yarn:2\n",
    )
    .action((texts: string[], options: CompareOptions) => run(texts, options, io, argv));
};

const share = { above: 0, below: 1 };

function methodOf(text: string): Method {
  if (text === full.name) return full;
  if (text.startsWith("knn:"))
    return { name: text, knn: memoryShare("--method", share, "knn:")(text.slice(4)) };
  if (text === "knn")
    throw new BadInputError("--method knn: expected a share, such as knn:0.05, or knn:auto");
  const method = choice("--method", [...attentionMethods, ...extensionMethods, "longrope", "knn"])(
    text.split(":")[0] ?? "",
  );
  if (attentionMethods.some((name) => name === method))
    return { name: text, attention: attention("--method")(text) };
  return { name: text, extend: extension("--method")(text) };
}

async function run(
  texts: readonly string[],
  options: CompareOptions,
  io: Io,
  argv: readonly string[],
): Promise<void> {
  const methods = [full, ...(options.method ?? []).filter(({ name }) => name !== full.name)];
  const names = methods.map(({ name }) => name);
  const what = methods.map(({ name: _, ...method }) => JSON.stringify(method));
  const twice = names.find((_, i) => what.indexOf(what[i] ?? "") < i);
  if (twice !== undefined) throw new BadInputError(`--method ${twice}: it stands there twice`);
  const remembers = methods.some(({ knn = 0 }) => knn !== 0);
  if (options.knnTokens !== undefined && !remembers)
    throw new BadInputError("--knn-tokens: nothing reads it without --method knn:SHARE; leave it out");
  const recipe = resolveRecipe(options);
  await runTable(texts, options, io, {
    ...{ name: "compare", argv },
    facts: { methods: names },
    cells: (modelFiles) => {
      const cells = methods.map((method): Cell => {
        const changed = withMethod(modelFiles, method);
        const windows = resolveWindows(within(options, changed.config), recipe, changed.config);
        return {
          reading: { method: method.name, window: String(windows.window) },
          ...{ learning: {}, facts: { method: method.name } },
          ...{ modelFiles: servingWindows(changed, windows), windows, recipe },
          memory: resolveMemory({ ...options, ...method }, remembers),
        };
      });
      // all read alike: where one method's keys cannot serve again, none do
      const reuseCache = Math.min(...cells.map(({ windows }) => windows.reuseCache));
      return cells.map((cell) => ({ ...cell, windows: { ...cell.windows, reuseCache } }));
    },
  });
}

/** Where --window is more than a method's positions leave, the method gets what they leave: to see less is what it is compared for. */
function within(options: CompareOptions, { max_position_embeddings, longer }: ModelConfig): TempLoraOptions {
  const { chunk, window, trainWindow } = options;
  if (chunk === undefined || window === undefined) return options;
  const room = Math.max(0, (longer?.max_position_embeddings ?? max_position_embeddings) - chunk);
  return {
    ...options,
    window: Math.min(window, room),
    ...(trainWindow !== undefined && { trainWindow: Math.min(trainWindow, room) }),
  };
}
