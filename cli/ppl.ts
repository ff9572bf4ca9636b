/** `templora ppl`: reads texts, and reports both perplexities chunk by chunk. */
import { Option } from "commander";
import { BadInputError, NonFiniteError } from "../engine/errors.ts";
import type { ModelConfig } from "../model/config.ts";
import type { ModelFiles } from "../model/model_files.ts";
import type { Windows } from "../templora/session_options.ts";
import { Buckets, paperBuckets } from "../templora/buckets.ts";
import { type ChunkRecord, type Perplexities, Totals } from "../templora/records.ts";
import { type Recipe, recipes } from "../templora/config.ts";
import { OFFICIAL_FIRST_CHUNK, officialText, officialWeight } from "../templora/official.ts";
import type { StoredAdapter } from "../templora/stored_adapter.ts";
import { unreadUnder } from "../templora/unread.ts";
import { type AutoOptions, addAutoOptions, budgetOf, withinBudget } from "./auto.ts";
import { cells, change, count, percent } from "./format.ts";
import {
  type AdapterOptions,
  adapterRecord,
  addAdapterOptions,
  keepAdapter,
  openAdapter,
  outputsOf,
  proveAdapterPlace,
} from "./adapters.ts";
import { type RecordSink, assertDistinct, keeping, openRecords } from "./files.ts";
import {
  type CommonOptions,
  type Define,
  type MethodOptions,
  type StateOptions,
  type TempLoraOptions,
  type TextOptions,
  addCommonOptions,
  addMethodOptions,
  addStateOptions,
  addTempLoraOptions,
  checkCheckpointLayers,
  maxTokensOption,
  addMemoryOptions,
  resolveMemory,
  resolveWindows,
  specialOption,
  type MemoryOptions,
} from "./options.ts";
import type { Io, Terminal } from "./output.ts";
import { ascending, choice } from "./parsers.ts";
import { chunkColumns, showTotals } from "./ppl_tables.ts";
import { type Job, assertAllFit, checkReading, hashesOf, openTexts, readJobs } from "./readings.ts";
import { resolveRecipe } from "./recipe.ts";
import { type ReportOptions, addReportOption, openReport, reportOutputs } from "./report/option.ts";
import { RunDevice } from "./run_device.ts";
import {
  chunkRecord,
  configRecord,
  memoryRecord,
  openModel,
  servingWindows,
  openState,
  noteUpdate,
  openTerminal,
  resumedUnder,
} from "./session.ts";
import type { RunState } from "./state.ts";
import { textsIn } from "./texts.ts";
import { readWindows } from "./window_perplexity.ts";

interface PplOptions
  extends
    CommonOptions,
    TextOptions,
    TempLoraOptions,
    MethodOptions,
    MemoryOptions,
    AdapterOptions,
    StateOptions,
    ReportOptions {
  readonly maxTokens?: number;
  readonly buckets: readonly number[];
  readonly baseline: boolean;
  readonly tokenScores?: true;
  readonly conventions: (typeof conventions)[number];
}

const conventions = ["templora", "official", "llama-perplexity"] as const;

export const ppl: Define = (command, io, argv) => {
  command
    .description(
      "Reads one or several UTF-8 texts, chunk by chunk: scores the chunk with the frozen model and with the adapted one, " +
        "then trains the adapter on it. Every text gets an adapter of its own: a fresh one, or that of --load-adapter.",
    )
    .argument("<text...>", "UTF-8 files, or folders of .txt files");
  addMemoryOptions(addAutoOptions(addTempLoraOptions(addMethodOptions(addCommonOptions(command)))))
    .optionsGroup("Temp-LoRA:")
    .option("--no-baseline", "the adapted model only")
    .optionsGroup("Text:")
    .addOption(maxTokensOption())
    .addOption(
      new Option(
        "--buckets <tokens>",
        "where in a text the second bucket of perplexities begins, the third, …: perplexity by position, and over several texts by their length",
      )
        .argParser(ascending("--buckets"))
        .default(paperBuckets, paperBuckets.join()),
    )
    .option(...specialOption);
  command.addOption(
    new Option(
      "--conventions <name>",
      "whose way of measuring: templora; official, the paper's script (by --recipe paper, text stripped, first chunk of 1024 tokens, its weights, --window as --train-window); or llama-perplexity (llama.cpp's tool: windows of --window tokens, default 512, of each the second half; base model only)",
    )
      .argParser(choice("--conventions", conventions))
      .default("templora"),
  );
  addReportOption(command.optionsGroup("Output:")).option(
    "--token-scores",
    "in the JSON lines −ln p of each token, in nats, of either model",
  );
  addStateOptions(addAdapterOptions(command))
    .addHelpText("after", "\nExample:\n  templora ppl moby-dick.txt --model smollm2-135m --max-tokens 8192\n")
    .action((texts: string[], all: AutoOptions<PplOptions>) => {
      const given = (name: string): boolean => command.getOptionValueSource(name) === "cli";
      const { options, budget } = budgetOf(all);
      if (budget !== null && options.conventions !== "templora")
        throw new BadInputError(`--recipe auto: not with --conventions ${options.conventions}`);
      if (options.conventions === "llama-perplexity") return readWindows(textsIn(texts), options, given, io);
      const official = options.conventions === "official"; // the paper's script, so by its recipe
      return read(texts, official ? { recipe: "paper", ...options } : options, budget, io, argv);
    });
};

interface Run {
  readonly options: PplOptions;
  /** Of --recipe auto, in times of the frozen model. */
  readonly budget: number | null;
  readonly recipe: Recipe;
  readonly adapter: StoredAdapter | null;
  readonly windows: Windows;
  readonly modelFiles: ModelFiles;
  readonly jobs: readonly Job[];
  readonly terminal: Terminal;
  readonly records: Pick<RecordSink, "write">;
  readonly state: RunState;
  readonly io: Io;
}

async function read(
  names: readonly string[],
  given: PplOptions,
  budget: number | null,
  io: Io,
  argv: readonly string[],
): Promise<void> {
  const paths = textsIn(names);
  checkOptions(given, resolveRecipe(given), paths.length);
  await using opened = await openModel(given, io);
  using terminal = openTerminal(given, io);
  const options = budget === null ? given : await withinBudget(given, budget, opened, terminal);
  const adapter = await openAdapter(options, opened);
  const recipe = resolveRecipe(options, adapter);
  await proveAdapterPlace(options);
  const official = options.conventions === "official";
  const windows = official
    ? officialWindows(options, recipe, opened.config)
    : resolveWindows(options, recipe, opened.config);
  const modelFiles = servingWindows(opened, windows);
  checkCheckpointLayers(options, modelFiles.config.num_hidden_layers);
  const inputs = Object.fromEntries(paths.map((path, i) => [`text ${i + 1}`, path]));
  assertDistinct(
    {
      "--json": options.json,
      "--state": options.state,
      "--save-adapter": outputsOf(options),
      "--report": reportOutputs(options),
    },
    { ...inputs, "--load-adapter": options.loadAdapter, "--model": modelFiles.source },
  );
  using sink = await openRecords(options.json, io, terminal);
  const records = await openReport(options, sink, argv, terminal);
  const texts = await openTexts(
    paths,
    modelFiles,
    { ...options, ...(official && { change: officialText }) },
    terminal,
    io,
  );
  const { seed, baseline, templora, checkpointLayers } = options;
  const memory = resolveMemory(options);
  const parts = {
    ...{ seed, baseline, templora, recipe, adapter, windows, ...memory },
    tokenScores: options.tokenScores === true,
    texts: hashesOf(texts),
    ...(official && { conventions: "official" }),
  };
  await using state = await openState(
    "ppl",
    parts,
    modelFiles,
    { ...options, outputs: [records.file] },
    terminal,
    io,
  );
  await using device = await RunDevice.open(options, terminal);
  const session = {
    ...{ ...windows, ...memory, recipe, adapter, seed, baseline, templora, checkpointLayers },
    tokenScores: options.tokenScores === true,
    keepBos: !official, // the script's windows lose it
  };
  const first = official ? { firstChunk: OFFICIAL_FIRST_CHUNK } : {};
  const jobs = texts.map((text) => ({ text, modelFiles, session, ...first }));
  await assertAllFit(jobs, device.now);
  const run = { options, budget, recipe, adapter, windows, modelFiles, jobs, terminal, records, state, io };
  await keeping([records.file], terminal, async () => {
    await readAll(run, device);
    await records.finish();
  });
  await state.discard((line) => terminal.note(line));
}

/** Throws where flags do not go together. */
export function checkOptions(
  options: TempLoraOptions & MemoryOptions & AdapterOptions & Pick<PplOptions, "baseline">,
  recipe: Recipe,
  texts: number,
): void {
  if (options.saveAdapter !== undefined && texts > 1)
    throw new BadInputError(
      `--save-adapter: each of the ${texts} texts gets an adapter of its own; give one text`,
    );
  if (!options.templora && !options.baseline) {
    throw new BadInputError(
      "--no-templora and --no-baseline together leave nothing to measure; give one of them",
    );
  }
  checkReading(options, options.templora ? recipe : null);
  resolveMemory(options);
}

/** The script's: the training window scores, too, and the first chunk must fit the model. */
function officialWindows(options: PplOptions, recipe: Recipe, config: ModelConfig): Windows {
  const { max_position_embeddings: usual, longer } = config;
  const positions = longer?.max_position_embeddings ?? usual;
  if (positions < OFFICIAL_FIRST_CHUNK)
    throw new BadInputError(
      `--conventions official: its first chunk has ${OFFICIAL_FIRST_CHUNK} tokens, the model has ${positions} positions`,
    );
  if (!recipe.context_grad)
    throw new BadInputError(
      "--conventions official: the script's context has a gradient; leave --context-grad on",
    );
  const { trainWindow } = resolveWindows(options, recipe, config);
  return resolveWindows({ ...options, window: trainWindow, trainWindow }, recipe, config);
}

async function readAll(run: Run, device: RunDevice): Promise<void> {
  const { options, budget, recipe, adapter, windows, modelFiles, jobs, terminal, records, state } = run;
  const all = new Totals();
  const everywhere = new Buckets(options.buckets);
  const byLength = new Buckets(options.buckets);
  const weightOf = (record: ChunkRecord, length: number): number =>
    options.conventions === "official" ? officialWeight(record, length, windows.chunk) : record.tokens;
  const failed: { readonly path: string; readonly error: NonFiniteError }[] = [];
  const fail = (path: string, error: NonFiniteError): void => {
    records.write({ type: "error", text: path, message: error.message });
    failed.push({ path, error });
  };
  const diverged = (path: string): void =>
    fail(path, new NonFiniteError(`${path}: the adapted model's perplexity is beyond all numbers: its updates went too far: lower lr or clip`)); // prettier-ignore
  const columns = chunkColumns(options);
  const line = (texts: string[]): void => {
    const widths = columns.map(({ width }) => width);
    terminal.result(`${cells(texts, widths)}\n`);
  };
  await readJobs(jobs, device, run, {
    open: () => {
      records.write({
        ...configRecord("ppl", options, device.now, recipe, windows),
        ...adapterRecord(options, adapter),
        ...(options.conventions === "official" && { conventions: "official" }),
        ...(budget !== null && { budget }),
        ...(options.knn !== undefined && memoryRecord(resolveMemory(options))),
        ...(windows.reuseCache > 0 && { reuse_cache: windows.reuseCache }),
        ...(options.checkpointLayers > 0 && { checkpoint_layers: options.checkpointLayers }),
        ...resumedUnder(state, device.now, terminal),
      });
      terminal.note(settings(options, recipe, windows));
    },
    begin: ({ text: { path, ids } }) => {
      terminal.result(`${terminal.style(path, "bold")}: ${count(ids.length)} tokens\n`);
      line(columns.map(({ title }) => title));
    },
    chunk: (record, { text: { path, ids } }) => {
      const weight = weightOf(record, ids.length);
      all.add(record, weight);
      everywhere.add(record.start, record, weight);
      byLength.add(ids.length, record, weight);
      records.write(chunkRecord(path, record));
      noteUpdate(record, recipe, terminal);
      line(columns.map(({ cell }) => cell(record)));
    },
    end: async ({ text: { path, ids } }, found, read) => {
      const totals = new Totals();
      const positions = new Buckets(options.buckets);
      for (const record of found) {
        const weight = weightOf(record, ids.length);
        totals.add(record, weight);
        positions.add(record.start, record, weight);
      }
      showTotals(path, path, totals.perplexities, device.now, run, { by_position: positions });
      if (beyondAllNumbers(totals.perplexities)) return diverged(path);
      if (read) await keepAdapter(options, { ...read, records: found }, modelFiles.source, terminal);
    },
    failed: ({ text: { path } }, error) => {
      if (jobs.length === 1) throw error;
      terminal.note(`${path}: ${error.message}`);
      fail(path, error);
    },
  });
  const [first] = failed;
  if (first) {
    const paths = failed.map(({ path }) => path).join(", ");
    const which = jobs.length > 1 ? `; failed: ${paths} (${failed.length} of ${jobs.length} texts)` : "";
    throw new NonFiniteError(`${first.error.message}${which}`);
  }
  hintAt(all.perplexities, recipe, terminal);
  if (jobs.length > 1) {
    const buckets = { by_position: everywhere, by_length: byLength };
    showTotals(`all ${jobs.length} texts`, null, all.perplexities, device.now, run, buckets);
  }
}

/** Whether it is the adapter that made it so: a base model's own perplexity is told as it is. */
const beyondAllNumbers = ({ base_ppl: base, lora_ppl: lora }: Perplexities): boolean =>
  lora === Infinity && base !== Infinity;

/** One line where learning has done harm. */
function hintAt(
  { base_ppl: base, lora_ppl: lora }: Perplexities,
  { guard }: Recipe,
  terminal: Terminal,
): void {
  if (base === null || lora === null || lora <= base) return;
  const less = guard > 0 ? "a lower --lr or a smaller --guard" : "a lower --lr or --guard";
  terminal.note(`adapted is worse than the base by ${percent(change(base, lora))}; ${less} may help`);
}

/** What `settings` says in its own words. */
const said: readonly string[] = [
  "adapt",
  "rank",
  "alpha",
  "scaling",
  "dropout",
  "lr",
  "warmup",
  "epochs",
  "context_grad",
  "guard",
];

/** The rest of a recipe, as far as it is not the paper's. */
function others(recipe: Recipe): string {
  return Object.entries(recipes.paper)
    .filter(([key, usual]) => !said.includes(key) && String(recipe[key as keyof Recipe]) !== String(usual))
    .filter(([key]) => unreadUnder(key as keyof Recipe, recipe) === null)
    .map(([key]) => `, ${key.replaceAll("_", " ")} ${inFlags(recipe[key as keyof Recipe])}`)
    .join("");
}

/** As its flag is given. */
const inFlags = (value: Recipe[keyof Recipe]): string =>
  typeof value === "boolean" ? (value ? "on" : "off") : String(value);

const scalingSaid = { lora: "", rslora: " by the rank's root", weight: " by the weights' size" };

/** One line on what the run does, with the values that were not given. */
function settings({ templora, window, seed, knn = 0 }: PplOptions, r: Recipe, w: Windows): string {
  const chosen = window === undefined ? " (default)" : "";
  const memory = knn === 0 ? "" : `, a memory beside either model (knn ${knn})`;
  const reading = `chunk ${w.chunk}, window ${w.window}${chosen}${memory}`;
  if (!templora) return `${reading}, base model only`;
  const adapted =
    r.adapt === "lora"
      ? `rank ${r.rank}, alpha ${r.alpha}${scalingSaid[r.scaling]}, dropout ${r.dropout}`
      : `adapt ${r.adapt}`;
  return (
    `${reading}, train window ${w.trainWindow}; ${adapted}, lr ${r.lr}, ` +
    `warm-up ${r.warmup}, ${r.epochs === 1 ? "1 epoch" : `${r.epochs} epochs`}, seed ${seed}` +
    others(r) +
    (r.context_grad ? "" : ", no gradient through the context") +
    (w.reuseCache > 0 ? `, its keys kept for ${w.reuseCache} updates` : "") +
    (r.guard > 0 ? `, updates undone beyond ${r.guard} %` : "")
  );
}
