/** `templora ppl --conventions llama-perplexity`: the base model's perplexity as llama.cpp's tool of that name measures it. */
import { BadInputError } from "../engine/errors.ts";
import { recipes } from "../templora/config.ts";
import type { StoredAdapter } from "../templora/stored_adapter.ts";
import {
  type WindowRecord,
  WindowScorer,
  type WindowsSnapshot,
  estimateOf,
  scoreWindows,
} from "../templora/window_perplexity.ts";
import { assertDistinct, keeping, openRecords } from "./files.ts";
import { count, duration } from "./format.ts";
import type { CommonOptions, MethodOptions, StateOptions, TextOptions } from "./options.ts";
import type { Io } from "./output.ts";
import { assertAllFit, hashesOf, openTexts } from "./readings.ts";
import {
  configRecord,
  loadModel,
  openChosenDevice,
  openModel,
  openState,
  openTerminal,
  peakBytes,
  resumedUnder,
  servingWindows,
  throwIfKept,
} from "./session.ts";
import { recipeFlags } from "./recipe.ts";
import type { RunState } from "./state.ts";

export interface WindowOptions extends CommonOptions, TextOptions, MethodOptions, StateOptions {
  readonly window?: number;
  readonly maxTokens?: number;
}

/** Flags of other conventions, by commander's names. */
const NOT_READ: Readonly<Record<string, string>> = {
  ...{ recipe: "--recipe", ...recipeFlags },
  ...{ chunk: "--chunk", trainWindow: "--train-window", report: "--report" },
  ...{ loadAdapter: "--load-adapter", saveAdapter: "--save-adapter" },
  ...{ reuseCache: "--reuse-cache", checkpointLayers: "--checkpoint-layers" },
  ...{ buckets: "--buckets", baseline: "--no-baseline" },
  ...{ knn: "--knn", knnTokens: "--knn-tokens" },
};

/** The tool's own. */
const WINDOW = 512;

/** `given`: whether a flag, by commander's name, was given. */
export async function readWindows(
  paths: readonly string[],
  options: WindowOptions,
  given: (name: string) => boolean,
  io: Io,
): Promise<void> {
  const { window: size = WINDOW } = options;
  const unread = Object.keys(NOT_READ).find(given);
  if (unread !== undefined)
    throw new BadInputError(
      `${NOT_READ[unread]}: nothing reads it under --conventions llama-perplexity, which scores the base model in windows of --window`,
    );
  if (size < 4) throw new BadInputError(`--window ${size}: expected at least 4 tokens`);
  await using opened = await openModel(options, io);
  const { max_position_embeddings: usual, longer } = opened.config;
  const positions = longer?.max_position_embeddings ?? usual;
  if (size > positions) throw new BadInputError(`--window ${size}: the model has ${positions} positions`);
  const windows = { chunk: size, window: 0, trainWindow: 0 };
  const modelFiles = servingWindows(opened, windows);
  using terminal = openTerminal(options, io);
  const inputs = Object.fromEntries(paths.map((path, i) => [`text ${i + 1}`, path]));
  assertDistinct(
    { "--json": options.json, "--state": options.state },
    { ...inputs, "--model": modelFiles.source },
  );
  using records = await openRecords(options.json, io, terminal);
  const texts = await openTexts(paths, modelFiles, options, terminal, io);
  for (const { path, ids } of texts)
    if (ids.length < 2 * size)
      throw new BadInputError(
        `${path}: ${count(ids.length)} tokens, fewer than two windows of ${size}; give a longer text or a smaller --window`,
      );
  const parts = { size, texts: hashesOf(texts) };
  type State = RunState<WindowRecord, WindowsSnapshot>;
  const name = "ppl, llama-perplexity";
  await using state: State = await openState(
    name,
    parts,
    modelFiles,
    { ...options, outputs: [records.file] },
    terminal,
    io,
  );
  await using device = await openChosenDevice(options, terminal);
  const adapter: StoredAdapter | null = null;
  const session = {
    ...{ ...windows, recipe: recipes.paper, adapter, seed: options.seed, baseline: true, templora: false },
    ...{ reuseCache: 0, checkpointLayers: 0 },
  };
  await assertAllFit(
    texts.map((text) => ({ text, modelFiles, session })),
    device,
  );
  await keeping([records.file], terminal, async () => {
    using model = await loadModel(modelFiles, device, terminal, io, () => undefined);
    records.write({
      ...configRecord("ppl", options, device, null, null),
      ...{ conventions: "llama-perplexity", window: size },
      ...resumedUnder(state, device, terminal),
    });
    terminal.note(`windows of ${size} tokens, the second half of each scored; base model only`);
    for (const [index, { path, ids }] of texts.entries()) {
      const total = Math.floor(ids.length / size);
      terminal.result(
        `${terminal.style(path, "bold")}: ${count(ids.length)} tokens, ${count(total)} windows\n`,
      );
      using scorer = new WindowScorer(model, ids, size);
      const found: WindowRecord[] = [];
      const take = (record: WindowRecord): void => {
        found.push(record);
        const { nll: base_nll, ...others } = record;
        records.write({ type: "chunk", text: path, ...others, base_nll, lora_nll: null });
        terminal.result(`[${record.index + 1}]${estimateOf(found).ppl.toFixed(4)}\n`);
      };
      const keeper = state.keeper(index, (line) => terminal.note(line));
      const done = state.done(index);
      (done ?? keeper.earlier?.records ?? []).forEach(take);
      const began = performance.now();
      const before = found.length;
      if (!done)
        for await (const record of scoreWindows(scorer, { signal: io.signal, keeper })) {
          take(record);
          const perWindow = (performance.now() - began) / 1000 / (found.length - before);
          const figures = `window ${found.length}/${total}, ${duration(perWindow * (total - found.length))} left`;
          terminal.progress({ label: path, fraction: found.length / total, figures });
        }
      throwIfKept(state, io, terminal);
      terminal.endProgress();
      const { tokens, ppl, error } = estimateOf(found);
      records.write({
        ...{ type: "summary", text: path, tokens, base_ppl: ppl, base_ppl_error: error, lora_ppl: null },
        peak_bytes: peakBytes(device),
      });
      terminal.result(`Final estimate: PPL = ${ppl.toFixed(4)} +/- ${error.toFixed(5)}\n`);
      state.finish(index, found);
    }
  });
  await state.discard((line) => terminal.note(line));
}
