/** A translation from its flags to its end, whatever is translated: opened, checked, its state kept, every record written and shown. */
import { createHash } from "node:crypto";
import type { Device } from "../engine/device.ts";
import { type Steps, Turns } from "../engine/turns.ts";
import type { ModelFiles } from "../model/model_files.ts";
import type { Tokenizer } from "../model/tokenizer.ts";
import type { Recipe } from "../templora/config.ts";
import { assertGuards } from "../templora/guard.ts";
import type { Material } from "../templora/material.ts";
import type { Block } from "../templora/pairs.ts";
import type { WritingLine } from "../templora/prompt_reader.ts";
import { assertDrawsNothing } from "../templora/replay.ts";
import {
  type TranslateOptions,
  type TranslatorSnapshot,
  type UpdateRecord,
  translateBlocks,
} from "../templora/translate.ts";
import type { TranslationPrompt } from "../templora/translation_prompt.ts";
import { OutputFile, type RecordSink, assertDistinct, keeping, openRecords } from "./files.ts";
import { hash } from "./identity.ts";
import { assertTranslationFits } from "./memory.ts";
import { checkCheckpointLayers } from "./options.ts";
import type { Io, Terminal } from "./output.ts";
import { resolveRecipe } from "./recipe.ts";
import { keepingAfterFaults } from "./run_device.ts";
import {
  configRecord,
  loadModel,
  openChosenDevice,
  openModel,
  openState,
  openTerminal,
  resumedUnder,
  throwIfKept,
  throwIfStopped,
} from "./session.ts";
import type { RunState } from "./state.ts";
import { type ChosenOptions, TRANSLATION_RECIPE } from "./translate_options.ts";

/** What is translated, and how it is shown. */
export interface Plan<R> {
  readonly material: Material<R>;
  /** Flags that need less memory, and the material with them. */
  readonly less: readonly [flags: string, material: () => Material<R>];
  readonly prompt: TranslationPrompt;
  /** Prompts of these, and the tokens that end a text, tell a run from others, and so does `texts`. */
  readonly blocks: readonly Block[];
  readonly texts: unknown;
  readonly work: Pick<TranslateOptions, "trainOn" | "baseline" | "maxNewTokens">;
  /** Fields of the first JSON line. */
  readonly facts: object;
  view(outputs: Outputs): View<R>;
}

export interface Outputs {
  readonly terminal: Terminal;
  readonly records: RecordSink;
  readonly out: OutputFile | null;
  readonly io: Io;
}

/** Shows a run. */
export interface View<R> extends Pick<WritingLine, "onText"> {
  /** `live`: it was made just now, and not by the run that this one resumes. */
  show(record: R | UpdateRecord, live: boolean): void;
  /** Called often. */
  tick?(): void;
  /** Called when the last step is done, or the run is stopped. */
  end?(): void;
  report(found: readonly (R | UpdateRecord)[], device: Device): void;
}

interface Run<R> extends Outputs {
  readonly path: string;
  readonly options: ChosenOptions;
  readonly recipe: Recipe;
  readonly plan: Plan<R>;
  readonly work: TranslateOptions;
  readonly modelFiles: ModelFiles;
  readonly state: RunState<R | UpdateRecord, TranslatorSnapshot>;
}

export async function runTranslation<R>(
  path: string,
  options: ChosenOptions,
  io: Io,
  prepare: (modelFiles: ModelFiles, terminal: Terminal) => Plan<R> | Promise<Plan<R>>,
): Promise<void> {
  const { seed, templora, checkpointLayers, repetitionPenalty } = options;
  const recipe = resolveRecipe({ recipe: TRANSLATION_RECIPE, ...options });
  assertGuards(templora ? recipe : null, false);
  assertDrawsNothing(templora ? recipe : null);
  await using modelFiles = await openModel(options, io);
  checkCheckpointLayers(options, modelFiles.config.num_hidden_layers);
  using terminal = openTerminal(options, io);
  assertDistinct(
    { "--json": options.json, "--out": options.out, "--state": options.state },
    { "the translation": path, "--glossary": options.glossary, "--model": modelFiles.source },
  );
  const plan = await prepare(modelFiles, terminal);
  using records = await openRecords(options.json, io, terminal);
  using out = options.out === undefined ? null : await OutputFile.open(options.out, io, terminal);
  const { trainOn, baseline, maxNewTokens } = plan.work;
  const computed = { recipe, seed, trainOn, baseline, templora, maxNewTokens, repetitionPenalty };
  const turns = new Turns(() => throwIfStopped(io));
  const texts = hash(JSON.stringify(plan.texts));
  const parts = { ...computed, texts, ids: await turns.run(hashIds(plan, modelFiles.tokenizer)) };
  await using state: Run<R>["state"] = await openState(
    "translate",
    parts,
    modelFiles,
    { ...options, outputs: [out, records.file] },
    terminal,
    io,
  );
  await using device = await openChosenDevice(options, terminal);
  const work = { ...computed, checkpointLayers };
  await assertTranslationFits(device, modelFiles, plan.material, work, plan.less);
  const outputs = { terminal, records, out, io };
  const run = { ...outputs, path, options, recipe, plan, work, modelFiles, state };
  await keeping([out, records.file], terminal, () =>
    keepingAfterFaults(state, terminal, () => translateAll(run, device)),
  );
  await state.discard((line) => terminal.note(line));
}

/** A hash of what the model reads and stops at: chat template and tokenizer decide it as well as the texts. */
function* hashIds({ prompt, blocks }: Plan<unknown>, { eosIds }: Tokenizer): Steps<string> {
  const digest = createHash("sha256").update(JSON.stringify(eosIds));
  for (const block of blocks) {
    const targets = block.pairs.map(({ target }) => target);
    const { inputs, targets: ids } = prompt.training(block, targets);
    digest.update(JSON.stringify([[...prompt.before(block, block.pairs.length - 1)], [...inputs], [...ids]]));
    yield;
  }
  return digest.digest("hex");
}

async function translateAll<R>(run: Run<R>, device: Device): Promise<void> {
  const { path, options, recipe, plan, work, modelFiles, terminal, records, state, io } = run;
  const { src, tgt, instruction, templora } = options;
  let view: View<R> | null = null;
  using model = await loadModel(modelFiles, device, terminal, io, () => view?.tick?.());
  records.write({
    ...configRecord("translate", options, device, recipe, null),
    ...{ src, tgt, instruction, chat: modelFiles.tokenizer.hasChatTemplate },
    ...{ train_on: templora ? work.trainOn : "none", max_new_tokens: work.maxNewTokens },
    ...{ repetition_penalty: work.repetitionPenalty, ...plan.facts },
    ...resumedUnder(state, device, terminal),
  });
  const shown = (view = plan.view(run));
  const found: (R | UpdateRecord)[] = [];
  const take = (record: R | UpdateRecord, live: boolean): void => {
    found.push(record);
    records.write({ ...record, text: path });
    shown.show(record, live);
  };
  const keeper = state.keeper(0, (line) => terminal.note(line));
  keeper.earlier?.records.forEach((record) => take(record, false));
  try {
    const { onText } = shown;
    const live = { ...work, signal: io.signal, keeper, onText };
    for await (const record of translateBlocks(model, plan.material, live)) take(record, true);
  } finally {
    shown.end?.();
  }
  throwIfKept(state, io, terminal);
  terminal.endProgress();
  shown.report(found, device);
}

/** What an update shows of itself. */
export function updated({ block, lr, train_loss, seconds, skipped_steps: n }: UpdateRecord): string {
  const losses = train_loss.map((loss) => loss.toFixed(3)).join(" → ");
  const skipped = n > 0 ? `, ${n} optimiser step(s) skipped, their gradients were not finite` : "";
  return `update after block ${block}: lr ${lr.toExponential(1)}, training loss ${losses}${skipped}, ${seconds.train.toFixed(1)} s\n`;
}
