/**
 * Several ways of reading the same texts, side by side: each cell of a table is a model as it is or stretched, with windows, and the
 * frozen model or a recipe. `sweep` and `compare` make lists of cells.
 */
import type { Command } from "commander";
import { BadInputError, type NonFiniteError } from "../engine/errors.ts";
import type { ModelFiles } from "../model/model_files.ts";
import { greedy } from "../model/sample.ts";
import { recipes } from "../templora/config.ts";
import { type ChunkRecord, Totals } from "../templora/records.ts";
import { type Cell, bestOf, cellTable, factsOf, inWords, readingOf, resultOf } from "./cell_table.ts";
import { assertDistinct, keeping, openRecords } from "./files.ts";
import { figure, printable } from "./format.ts";
import {
  type CommonOptions,
  type LearningOptions,
  type StateOptions,
  type TextOptions,
  addStateOptions,
  checkCheckpointLayers,
  maxTokensOption,
  specialOption,
} from "./options.ts";
import type { Io } from "./output.ts";
import { numeric } from "./parsers.ts";
import {
  type Job,
  type Text,
  assertAllFit,
  checkReading,
  hashesOf,
  openTexts,
  readJobs,
} from "./readings.ts";
import {
  chunkRecord,
  configRecord,
  noteUpdate,
  openModel,
  openState,
  openTerminal,
  peakBytes,
  resumedUnder,
} from "./session.ts";
import { type ReportOptions, addReportOption, openReport, reportOutputs } from "./report/option.ts";
import { RunDevice } from "./run_device.ts";
import { textsIn } from "./texts.ts";

export interface TableOptions
  extends
    CommonOptions,
    TextOptions,
    StateOptions,
    ReportOptions,
    Pick<LearningOptions, "checkpointLayers" | "templora"> {
  readonly reuseCache?: number;
  readonly maxTokens?: number;
  readonly baseline: boolean;
  readonly budget?: number;
  readonly generate?: number;
}

/** What a command fills its table with. */
export interface TableCommand {
  readonly name: string;
  /** Those with a recipe; the frozen model's are added. */
  cells(modelFiles: ModelFiles): readonly Cell[];
  /** Of the first JSON line. */
  readonly facts: object;
  readonly argv: readonly string[];
}

/** What both commands take beside the flags of their cells. */
export function addTableOptions(command: Command): Command {
  command
    .optionsGroup("Temp-LoRA:")
    .option("--no-baseline", "the adapted model only")
    .optionsGroup("Text:")
    .addOption(maxTokensOption())
    .option(...specialOption)
    .optionsGroup("Table:")
    .addOption(
      numeric(
        "--budget <gflop>",
        "what a token may cost, update included, in the cell that is marked as the best (default: anything)",
        { above: 0 },
      ),
    );
  return addStateOptions(addReportOption(command));
}

/** Reads all texts in every cell, and shows the table. */
export async function runTable(
  given: readonly string[],
  options: TableOptions,
  io: Io,
  command: TableCommand,
): Promise<void> {
  const paths = textsIn(given);
  if (!options.templora && !options.baseline)
    throw new BadInputError(
      "--no-templora and --no-baseline together leave nothing to measure; give one of them",
    );
  await using opened = await openModel(options, io);
  checkCheckpointLayers(options, opened.config.num_hidden_layers);
  const cells = withBaselines(withKept(command.cells(opened)), options);
  for (const { recipe } of cells) checkReading(options, recipe);
  using terminal = openTerminal(options, io);
  const inputs = Object.fromEntries(paths.map((path, i) => [`text ${i + 1}`, path]));
  assertDistinct(
    { "--json": options.json, "--state": options.state, "--report": reportOutputs(options) },
    { ...inputs, "--model": opened.source },
  );
  using sink = await openRecords(options.json, io, terminal);
  const records = await openReport(options, sink, command.argv, terminal);
  const texts = await openTexts(paths, opened, options, terminal, io);
  const { seed } = options;
  const computed = cells.map(({ modelFiles: { config }, windows, memory, recipe }) => ({
    ...{ config, windows, recipe, ...memory },
  }));
  const writes = options.generate !== undefined && { generate: options.generate };
  const parts = { seed, texts: hashesOf(texts), cells: computed, ...writes };
  await using state = await openState(
    command.name,
    parts,
    opened,
    { ...options, outputs: [records.file] },
    terminal,
    io,
  );
  await using device = await RunDevice.open(options, terminal);
  const jobs = cells.flatMap((cell) => texts.map((text) => jobOf(cell, text, options)));
  await assertAllFit(jobs, device.now);
  const run = { state, terminal, io };
  const open = (): void =>
    records.write({
      ...configRecord(command.name, options, device.now, null, null),
      ...command.facts,
      ...writes,
      ...(options.checkpointLayers > 0 && { checkpoint_layers: options.checkpointLayers }),
      ...resumedUnder(state, device.now, terminal),
    });
  const cellOf = (job: Job): number => Math.floor(jobs.indexOf(job) / texts.length);
  const all = cells.map(() => new Totals());
  const failed = new Map<number, NonFiniteError>();
  const summary = (index: number, totals: Totals, text: string | null): number | null => {
    const result = resultOf(index, cells, totals, text === null && failed.has(index));
    records.write({ type: "cell", ...factsOf(cells[index]), text, ...result });
    return result.ppl;
  };
  await keeping([records.file], terminal, async () => {
    await readJobs(jobs, device, run, {
      open,
      begin: () => undefined,
      chunk: (record: ChunkRecord, job) => {
        const cell = cellOf(job);
        all[cell]?.add(record);
        records.write({ ...chunkRecord(job.text.path, record), cell });
        noteUpdate(record, job.session.recipe, terminal);
      },
      end: async (job, found, _, written) => {
        const index = cellOf(job);
        const totals = new Totals();
        for (const record of found) totals.add(record);
        const ppl = summary(index, totals, job.text.path);
        terminal.result(`${inWords(index, cells)}, ${job.text.path}: ppl ${figure(ppl)}\n`);
        if (written === null) return;
        records.write({ type: "generated", cell: index, text: job.text.path, generated: written });
        terminal.result(`  ${printable(written.replaceAll(/\s+/g, " ")).trim()}\n`);
      },
      failed: (job, error) => {
        const { path } = job.text;
        terminal.note(`${inWords(cellOf(job), cells)}, ${path}: ${error.message}`);
        records.write({ type: "error", cell: cellOf(job), text: path, message: error.message });
        failed.set(cellOf(job), error);
      },
    });
    const [[, error] = []] = failed;
    if (error && failed.size === cells.length) throw error;
    for (const [index, totals] of all.entries()) summary(index, totals, null);
    const results = all.map((totals, index) => resultOf(index, cells, totals, failed.has(index)));
    const best = bestOf(results, options.budget);
    const marked = { best, budget_gflop: options.budget ?? null };
    records.write({
      type: "summary",
      text: null,
      cells: cells.length,
      ...marked,
      peak_bytes: peakBytes(device.now),
    });
    terminal.result(`\n${cellTable(cells, results, best)}`);
    await records.finish();
  });
  await state.discard((line) => terminal.note(line));
}

/** A column more where cells differ in how long keys are kept. */
function withKept(cells: readonly Cell[]): readonly Cell[] {
  if (new Set(cells.map(({ windows }) => windows.reuseCache)).size < 2) return cells;
  return cells.map((cell) => ({
    ...cell,
    reading: { ...cell.reading, "keys kept": String(cell.windows.reuseCache) },
  }));
}

/** Of cells that differ in nothing that the frozen model sees, one is enough. */
function withBaselines(
  cells: readonly Cell[],
  { baseline, templora }: Pick<TableOptions, "baseline" | "templora">,
): Cell[] {
  const seen = new Set<string>();
  return cells.flatMap((cell) => {
    const key = readingOf(cell);
    const first = baseline && !seen.has(key);
    seen.add(key);
    return [...(first ? [{ ...cell, recipe: null, learning: {} }] : []), ...(templora ? [cell] : [])];
  });
}

/** Greedy, with the paper's penalty: of the frozen model as well, so that the adapter is all that differs. */
const asInPaper = { ...greedy, repetition_penalty: 1.12 };

function jobOf({ modelFiles, windows, memory, recipe }: Cell, text: Text, options: TableOptions): Job {
  const { seed, checkpointLayers } = options;
  const baseline = recipe === null || recipe.guard > 0; // which needs it
  const learning = { recipe: recipe ?? recipes.paper, templora: recipe !== null, baseline };
  const session = { ...windows, ...memory, ...learning, adapter: null, seed, checkpointLayers };
  if (options.generate === undefined) return { text, modelFiles, session };
  const writing = { sampling: asInPaper, banIds: modelFiles.tokenizer.eosIds };
  return { text, modelFiles, session: { ...session, ...writing }, writes: options.generate };
}
