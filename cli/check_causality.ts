/** `templora check-causality`: changes a later token of a text, and no earlier score may move by a bit. */
import { Option } from "commander";
import { BadInputError } from "../engine/errors.ts";
import { Purpose, stream, uniforms } from "../engine/random.ts";
import { checkCausality } from "../templora/causality.ts";
import { type Schedule, schedules } from "../templora/session_options.ts";
import { assertDistinct, keeping, openRecords } from "./files.ts";
import { count, table } from "./format.ts";
import { assertFits } from "./memory.ts";
import {
  type CommonOptions,
  type Define,
  type MethodOptions,
  type TempLoraOptions,
  type TextOptions,
  addCommonOptions,
  addMethodOptions,
  addTempLoraOptions,
  checkCheckpointLayers,
  resolveWindows,
  specialOption,
} from "./options.ts";
import type { Io } from "./output.ts";
import { choice, numeric } from "./parsers.ts";
import { checkReading, openTexts } from "./readings.ts";
import { resolveRecipe } from "./recipe.ts";
import {
  configRecord,
  loadModel,
  openChosenDevice,
  openModel,
  openTerminal,
  servingWindows,
  throwIfStopped,
} from "./session.ts";

interface CausalityOptions extends CommonOptions, TextOptions, TempLoraOptions, MethodOptions {
  readonly maxTokens: number;
  readonly flips: number;
  readonly schedule: Schedule;
}

export const checkCausalityCommand: Define = (command, io) => {
  command
    .description(
      "Checks that no score depends on what comes later: reads a text, then again with one token changed, for several places of the text. " +
        "Fails where the score of a token before the changed one moves by a bit, of the frozen model or of the adapted one.",
    )
    .argument("<text>", "a UTF-8 file");
  addTempLoraOptions(addMethodOptions(addCommonOptions(command)))
    .addOption(
      new Option(
        "--schedule <schedule>",
        "cascaded or parallel: chunks are learnt in this thread, or in one of their own, as generate does",
      )
        .argParser(choice("--schedule", schedules))
        .default("cascaded", "cascaded"),
    )
    .optionsGroup("Text:")
    .addOption(
      numeric("--max-tokens <n>", "read at most this many tokens of the text", {
        integer: true,
        min: 2,
      }).default(2048),
    )
    .addOption(
      numeric(
        "--flips <n>",
        "places whose token is changed: the last token, and others that the seed chooses",
        {
          integer: true,
          min: 1,
          max: 10_000,
        },
      ).default(3),
    )
    .option(...specialOption)
    .addHelpText("after", "\nExample:\n  templora check-causality moby-dick.txt --model smollm2-135m\n")
    .action((text: string, options: CausalityOptions) => run(text, options, io));
};

/** The last token, and others in a text of so many. */
function placesOf(tokens: number, flips: number, seed: number): number[] {
  const places = new Set([tokens - 1]);
  const wanted = Math.min(flips, tokens - 1);
  for (let step = 0; places.size < wanted; step++)
    for (const u of uniforms(seed, stream(Purpose.sampling, 0), step, 64))
      if (places.size < wanted) places.add(1 + Math.floor(u * (tokens - 1)));
  return [...places];
}

async function run(path: string, options: CausalityOptions, io: Io): Promise<void> {
  const recipe = resolveRecipe(options);
  checkReading(options, options.templora ? recipe : null);
  await using opened = await openModel(options, io);
  const windows = resolveWindows(options, recipe, opened.config);
  const modelFiles = servingWindows(opened, windows);
  checkCheckpointLayers(options, modelFiles.config.num_hidden_layers);
  using terminal = openTerminal(options, io);
  assertDistinct({ "--json": options.json }, { text: path, "--model": modelFiles.source });
  using records = await openRecords(options.json, io, terminal);
  const [text] = await openTexts([path], modelFiles, options, terminal, io);
  if (!text) return;
  const { ids } = text;
  await using device = await openChosenDevice(options, terminal);
  const { seed, templora, schedule, checkpointLayers } = options;
  const session = { ...windows, recipe, seed, templora, schedule, checkpointLayers };
  await assertFits(device, modelFiles, { ...session, adapter: null }, { tokens: ids.length, writes: false });
  await keeping([records.file], terminal, async () => {
    using model = await loadModel(modelFiles, device, terminal, io, () => throwIfStopped(io));
    records.write({
      ...configRecord("check-causality", options, device, recipe, windows),
      ...{ text: path, tokens: ids.length, schedule, reuse_cache: windows.reuseCache, templora },
    });
    const places = placesOf(ids.length, options.flips, seed);
    const rows: string[][] = [];
    let [bad, looked] = [0, 0];
    for await (const flip of checkCausality(model, ids, places, session)) {
      records.write({ type: "flip", ...flip });
      rows.push([flip.position, flip.compared, flip.moved.length, flip.after].map(count));
      bad += flip.moved.length;
      looked += flip.compared;
      const [first] = flip.moved;
      if (first)
        terminal.note(
          `${path}: with another token ${count(flip.position)}, token ${count(first.position)} of the ${first.model} model has ${first.is}, not ${first.was}`,
        );
    }
    terminal.result(table([["token changed", "scores before it", "moved", "moved from it on"], ...rows]));
    records.write({ type: "summary", text: path, flips: rows.length, moved: bad });
    if (looked === 0)
      throw new BadInputError(
        `${path}: nothing is scored before the token that was changed; give a longer text`,
      );
    if (bad > 0) throw new Error(`${path}: ${count(bad)} scores depend on what comes later`);
  });
}
