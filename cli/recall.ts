/** `templora recall`: what a model still knows of a text that it has read, by distance, and what learning it has cost. */
import { Option } from "commander";
import { BadInputError } from "../engine/errors.ts";
import { type LanguageName, languages } from "../templora/recall/grammar.ts";
import { type Answer, type Planted, ask, lossOf, ownReplies, recallText } from "../templora/recall/recall.ts";
import type { Session } from "../templora/session.ts";
import { score } from "../templora/scoring.ts";
import { assertDistinct, keeping, openRecords } from "./files.ts";
import { change, count, figure, percent, table } from "./format.ts";
import {
  type CommonOptions,
  type Define,
  type MemoryOptions,
  type MethodOptions,
  type StateOptions,
  type TempLoraOptions,
  addCommonOptions,
  addMemoryOptions,
  addMethodOptions,
  addStateOptions,
  addTempLoraOptions,
  checkCheckpointLayers,
  resolveMemory,
  resolveWindows,
} from "./options.ts";
import type { Io, Terminal } from "./output.ts";
import { ascending, choice, numeric } from "./parsers.ts";
import { type Job, assertAllFit, checkReading, hashesOf, readJobs } from "./readings.ts";
import { RunDevice } from "./run_device.ts";
import { resolveRecipe } from "./recipe.ts";
import {
  chunkRecord,
  configRecord,
  memoryRecord,
  openModel,
  openState,
  openTerminal,
  resumedUnder,
  servingWindows,
  throwIfStopped,
} from "./session.ts";
import { fileTokens } from "./texts.ts";

interface RecallOptions extends CommonOptions, TempLoraOptions, MethodOptions, MemoryOptions, StateOptions {
  readonly distances: readonly number[];
  readonly facts: number;
  readonly language: LanguageName;
  readonly unrelated?: string;
  readonly unrelatedTokens: number;
}

const DISTANCES = [1, 2, 4, 8, 16, 32];
const REPLY_TOKENS = 48;
const MOST_TOKENS = 10_000_000;

export const recall: Define = (command, io) => {
  command.description(
    "Makes a text with facts at known distances from its end, reads and learns it, and asks for them: log p of the answer and whether it is the " +
      "likeliest, by the frozen model and by the adapted one, each with the last --window tokens before it, and under --knn with its memory of the text. Beside it what the adapter has cost: the loss " +
      "on a text that has nothing to do with it, and on the frozen model's own replies in its chat format.",
  );
  addMemoryOptions(addTempLoraOptions(addMethodOptions(addCommonOptions(command))))
    .optionsGroup("Facts:")
    .addOption(
      new Option(
        "--distances <chunks>",
        "how many chunks before the questions facts stand; 1 is the last chunk",
      )
        .argParser(ascending("--distances"))
        .default(DISTANCES, DISTANCES.join()),
    )
    .addOption(
      numeric("--facts <n>", "facts at each distance", { integer: true, min: 1, max: 16 }).default(4),
    )
    .addOption(
      new Option("--language <name>", `of the text: ${Object.keys(languages).join(", ")}`)
        .argParser(choice("--language", Object.keys(languages) as LanguageName[]))
        .default("en", "en"),
    )
    .option("--unrelated <file>", "a UTF-8 text that has nothing to do with it")
    .addOption(
      numeric("--unrelated-tokens <n>", "read at most this many tokens of it", {
        integer: true,
        min: 2,
      }).default(2048),
    );
  addStateOptions(command)
    .addHelpText(
      "after",
      "\nExample:\n  templora recall --model smollm2-135m --chunk 256 --window 512 --distances 1,2,4,8,16 --unrelated moby-dick.txt\n",
    )
    .action((options: RecallOptions) => run(options, io));
};

async function run(options: RecallOptions, io: Io): Promise<void> {
  const recipe = resolveRecipe(options);
  checkReading(options, options.templora ? recipe : null);
  await using opened = await openModel(options, io);
  const windows = resolveWindows(options, recipe, opened.config);
  const modelFiles = servingWindows(opened, windows);
  checkCheckpointLayers(options, modelFiles.config.num_hidden_layers);
  using terminal = openTerminal(options, io);
  assertDistinct(
    { "--json": options.json, "--state": options.state },
    { "--unrelated": options.unrelated, "--model": modelFiles.source },
  );
  using records = await openRecords(options.json, io, terminal);
  const { seed, distances, facts, language, templora, checkpointLayers } = options;
  const memory = resolveMemory(options);
  const plan = { seed, distances, facts, language, chunk: windows.chunk };
  const tokens = windows.chunk * Math.max(...distances);
  if (tokens > MOST_TOKENS)
    throw new BadInputError(
      `--distances ${distances.join()}: a text of ${count(tokens)} tokens, more than ${count(MOST_TOKENS)}`,
    );
  if (!templora && options.unrelated !== undefined)
    throw new BadInputError("--unrelated: nothing reads it under --no-templora, which costs nothing");
  const { ids, planted } = recallText(plan, modelFiles.tokenizer);
  const unrelated =
    options.unrelated === undefined
      ? null
      : await fileTokens(options.unrelated, modelFiles.tokenizer, terminal, io, {
          most: options.unrelatedTokens,
        });
  if (unrelated && unrelated.length < 2)
    throw new BadInputError(
      `${options.unrelated}: ${unrelated.length} token(s); a perplexity needs at least two`,
    );
  const text = { path: "the text with the facts", ids: Int32Array.from(ids) };
  const session = {
    ...windows,
    recipe,
    adapter: null,
    seed,
    templora,
    checkpointLayers,
    ...memory,
    baseline: memory.knn !== 0 || (templora && recipe.guard > 0), // which need it
  };
  const job: Job = { text, modelFiles, session };
  const parts = { ...plan, ...session, text: hashesOf([text]) };
  await using state = await openState(
    "recall",
    parts,
    modelFiles,
    { ...options, outputs: [records.file] },
    terminal,
    io,
  );
  await using device = await RunDevice.open(options, terminal);
  await assertAllFit([job], device.now);
  await keeping([records.file], terminal, async () => {
    await readJobs(
      [job],
      device,
      { state, terminal, io },
      {
        open: () =>
          records.write({
            ...configRecord("recall", options, device.now, templora ? recipe : null, windows),
            ...memoryRecord(memory),
            ...{ distances, facts, language, tokens: ids.length, unrelated: options.unrelated ?? null },
            ...resumedUnder(state, device.now, terminal),
          }),
        begin: () => undefined,
        chunk: (record) => records.write(chunkRecord(null, record)),
        end: async (_, __, read) => {
          if (!read) throw new Error("the state is of a run that has ended: remove it");
          const found: Found[] = [];
          for (const [i, one] of planted.entries()) {
            throwIfStopped(io);
            found.push(await answers(read.session, one, windows.window));
            terminal.progress({ label: "asking", fraction: (i + 1) / planted.length, figures: one.name });
            records.write({ type: "recall", ...found.at(-1) });
          }
          terminal.endProgress();
          show(found, distances, terminal);
          const lost = await losses(read.session, unrelated, io);
          for (const line of lost) records.write({ type: "lost", ...line });
          if (lost.length > 0) terminal.result(`\n${lostTable(lost)}`);
          records.write({
            type: "summary",
            by_distance: distances.map((distance) => meanOf(found, distance)),
            lost,
          });
        },
        failed: (_, error) => {
          throw error;
        },
      },
    );
  });
  await state.discard((line) => terminal.note(line));
}

interface Found {
  readonly distance: number;
  readonly name: string;
  readonly answer: string;
  readonly tokens: number;
  readonly base: Answer;
  /** Null without an adapter. */
  readonly lora: Answer | null;
}

async function answers(session: Session, one: Planted, window: number): Promise<Found> {
  const { task, model, adapter, ids, baseMemory, loraMemory } = session;
  const { distance, name, answer } = one;
  return {
    ...{ distance, name, answer, tokens: one.ids.length },
    base: await ask(task, model, null, one, ids, window, baseMemory),
    lora: adapter && (await ask(task, model, adapter, one, ids, window, loraMemory)),
  };
}

interface Mean {
  readonly distance: number;
  readonly facts: number;
  /** Means of log p, nats, and the share of the facts whose answer is the likeliest. */
  readonly base_logp: number;
  readonly lora_logp: number | null;
  readonly base_exact: number;
  readonly lora_exact: number | null;
}

function meanOf(found: readonly Found[], distance: number): Mean {
  const here = found.filter((one) => one.distance === distance);
  const mean = (of: (one: Found) => number | null): number | null => {
    const values = here.map(of);
    return values.some((value) => value === null)
      ? null
      : values.reduce<number>((sum, value) => sum + (value ?? 0), 0) / here.length;
  };
  return {
    ...{ distance, facts: here.length },
    base_logp: mean(({ base }) => base.logp) ?? NaN,
    lora_logp: mean(({ lora }) => lora && lora.logp),
    base_exact: mean(({ base }) => Number(base.exact)) ?? NaN,
    lora_exact: mean(({ lora }) => lora && Number(lora.exact)),
  };
}

function show(found: readonly Found[], distances: readonly number[], terminal: Terminal): void {
  const rows = distances.map((distance) => {
    const { facts, base_logp, lora_logp, base_exact, lora_exact } = meanOf(found, distance);
    const share = (x: number | null): string => (x === null ? "-" : `${(100 * x).toFixed(0)} %`);
    return [
      ...[String(distance), String(facts), base_logp.toFixed(2), lora_logp?.toFixed(2) ?? "-"],
      ...[share(base_exact), share(lora_exact)],
    ];
  });
  const head = ["chunks ago", "facts", "base log p", "adapted log p", "base exact", "adapted exact"];
  terminal.result(table([head, ...rows]));
}

interface Lost {
  readonly what: "unrelated" | "chat";
  readonly tokens: number;
  readonly base_ppl: number;
  readonly lora_ppl: number;
}

async function losses(
  { task, model, adapter, options }: Session,
  unrelated: Int32Array | null,
  io: Io,
): Promise<Lost[]> {
  if (!adapter) return [];
  const lost: Lost[] = [];
  // in halves of what the model sees at a time, however small the chunks are that it learns
  const seen = options.window + options.chunk;
  const spans = { chunk: Math.ceil(seen / 2), window: Math.floor(seen / 2) };
  if (unrelated) {
    const { nll: base, tokens } = await lossOf(task, model, null, unrelated, spans);
    throwIfStopped(io);
    const { nll: lora } = await lossOf(task, model, adapter, unrelated, spans);
    lost.push({
      what: "unrelated",
      tokens,
      base_ppl: Math.exp(base / tokens),
      lora_ppl: Math.exp(lora / tokens),
    });
  }
  const replies = await ownReplies(model, REPLY_TOKENS);
  let [base, lora, tokens] = [0, 0, 0];
  for (const reply of replies) {
    throwIfStopped(io);
    base += await task.unit(() => score(task, model, reply, null));
    lora += await task.unit(() => score(task, model, reply, adapter));
    tokens += reply.targets.length;
  }
  if (tokens > 0)
    lost.push({ what: "chat", tokens, base_ppl: Math.exp(base / tokens), lora_ppl: Math.exp(lora / tokens) });
  return lost;
}

const names = { unrelated: "a text that has nothing to do with it", chat: "the frozen model's own replies" };

function lostTable(lost: readonly Lost[]): string {
  const rows = lost.map(({ what, tokens, base_ppl, lora_ppl }) => [
    ...[names[what], String(tokens), figure(base_ppl), figure(lora_ppl), percent(change(base_ppl, lora_ppl))],
  ]);
  return table([["perplexity of", "tokens", "base", "adapted", "change"], ...rows]);
}
