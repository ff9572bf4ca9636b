/** `templora generate`: writes a text that streams as it is produced, training on it as it grows. */
import { Option } from "commander";
import type { Device } from "../engine/device.ts";
import { BadInputError } from "../engine/errors.ts";
import type { Llama } from "../model/llama.ts";
import type { ModelFiles } from "../model/model_files.ts";
import { decodeText, readTextParts, wholeText } from "../model/text.ts";
import type { Tokenizer } from "../model/tokenizer.ts";
import { type Written, endsOf, writeTokens } from "../templora/decode.ts";
import { assertGuards } from "../templora/guard.ts";
import { assertRoomBeside, besideWriter } from "../templora/learner_beside.ts";
import { type ChunkRecord, Totals } from "../templora/records.ts";
import { type RepetitionAnswer, answers } from "../templora/repetition.ts";
import { Session } from "../templora/session.ts";
import {
  type Memory,
  type Schedule,
  type SessionOptions,
  assertSlides,
  schedules,
} from "../templora/session_options.ts";
import type { Keeper } from "../templora/keeping.ts";
import {
  type AdapterOptions,
  adapterRecord,
  addAdapterOptions,
  keepAdapter,
  openAdapter,
  outputsOf,
  proveAdapterPlace,
} from "./adapters.ts";
import { WRITING_RECIPE } from "../templora/config.ts";
import { OutputFile, type RecordSink, assertDistinct, keeping, openRecords } from "./files.ts";
import { type Latency, LatencyMeter } from "./latency.ts";
import { assertFits } from "./memory.ts";
import { count, duration, figure, rate } from "./format.ts";
import { GatheredText } from "./gathered_text.ts";
import { hash } from "./identity.ts";
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
  resolveWindows,
  specialOption,
} from "./options.ts";
import type { Io, Terminal } from "./output.ts";
import { choice, numeric } from "./parsers.ts";
import { resolveRecipe } from "./recipe.ts";
import { RunDevice, keepingAfterFaults } from "./run_device.ts";
import {
  chunkRecord,
  configRecord,
  loadModel,
  openModel,
  servingWindows,
  openState,
  noteUpdate,
  openTerminal,
  resumedUnder,
  summaryRecord,
  throwIfKept,
  throwIfStopped,
} from "./session.ts";
import { untilStopped } from "./signals.ts";
import type { RunState } from "./state.ts";
import { WritingStatus } from "./status.ts";
import { fileTokens } from "./texts.ts";

interface GenerateCommandOptions
  extends CommonOptions, TextOptions, TempLoraOptions, MethodOptions, AdapterOptions, StateOptions {
  readonly read?: readonly string[];
  readonly prompt?: string;
  readonly promptFile?: string;
  readonly chat?: boolean;
  readonly tokens: number;
  readonly out?: string;
  readonly stopAtEos?: boolean;
  readonly schedule: Schedule;
  readonly temperature: number;
  readonly topK: number;
  readonly topP: number;
  readonly minP: number;
  readonly repetitionPenalty?: number;
  readonly onRepetition: RepetitionAnswer;
}

export const generate: Define = (command, io) => {
  const integer = true;
  command.description(
    "Continues a prompt (--prompt, --prompt-file, or standard input) and trains the adapter on every finished chunk, " +
      "prompt included; with --read, on texts that come before. The text goes to stdout as it is produced.",
  );
  addCommonOptions(command)
    .optionsGroup("Text:")
    .option(
      "--read <file>",
      "a UTF-8 text to read and learn first, to its end; give it again for more texts, in order. The prompt follows the " +
        "last one; without --prompt and --prompt-file the text goes on where that ends (standard input is not read)",
      (path, paths: readonly string[] = []) => [...paths, path],
    )
    .option("--prompt <text>", "what to continue")
    .option("--prompt-file <file>", "the same, from a UTF-8 file")
    .option(
      "--chat",
      "put the prompt into the model's chat template, as a user's turn; --stop-at-eos ends where the answer does",
    )
    .option(...specialOption)
    .addOption(numeric("--tokens <n>", "tokens to write", { integer, min: 1 }).default(512))
    .option(
      "--out <file>",
      "write what is written to a file, too, without the prompt; it grows as FILE.part until the end",
    )
    .option(
      "--stop-at-eos",
      "stop at the model's end-of-text and end-of-turn tokens (default: never choose one, as the paper does)",
    )
    .optionsGroup("Sampling (defaults are the paper's):")
    .addOption(numeric("--temperature <t>", "0 = greedy", { min: 0, max: 1e3 }).default(0))
    .addOption(numeric("--top-k <k>", "candidates kept, 0 = all", { integer, min: 0 }).default(0))
    .addOption(
      numeric("--top-p <p>", "smallest set of candidates with this probability, 1 = all", {
        above: 0,
        max: 1,
      }).default(1),
    )
    .addOption(
      numeric("--min-p <p>", "drop candidates less probable than p times the best, 0 = none", {
        min: 0,
        max: 1,
      }).default(0),
    )
    .addOption(
      numeric(
        "--repetition-penalty <x>",
        "divides the logits of tokens in the context, 1 = none (default: the paper's 1.12; with --no-templora 1, " +
          "which at temperature 0 is plain greedy decoding)",
        { above: 0, max: 100 },
      ),
    );
  addTempLoraOptions(addMethodOptions(command), WRITING_RECIPE).addOption(
    new Option(
      "--schedule <schedule>",
      `${schedules.join(" or ")}: a chunk is learnt before the next one is written, or beside it, in a thread of its own; ` +
        "that takes a second copy of the model, and the text follows an adapter of one update earlier",
    )
      .argParser(choice("--schedule", schedules))
      .default("cascaded", "cascaded"),
  );
  command.addOption(
    new Option(
      "--on-repetition <answer>",
      `${answers.join(", ")}: where fewer than half of the 4-grams among 256 tokens that were written are distinct, say so; ` +
        "do not learn that chunk, either; or end the text there, with its state kept for --resume",
    )
      .argParser(choice("--on-repetition", answers))
      .default("report", "report"),
  );
  addStateOptions(addAdapterOptions(command))
    .addHelpText(
      "after",
      "\nExample:\n  templora generate --model smollm2-135m --prompt 'Call me Ishmael.' --tokens 600 --chunk 256 --window 512\n",
    )
    .action((options: GenerateCommandOptions) => write({ recipe: WRITING_RECIPE, ...options }, io));
};

async function write(options: GenerateCommandOptions, io: Io): Promise<void> {
  checkPrompt(options, io);
  const named = resolveRecipe(options); // a wrong flag is told before the model is opened
  assertGuards(options.templora ? named : null, false);
  await using opened = await openModel(options, io);
  const adapter = await openAdapter(options, opened);
  const recipe = resolveRecipe(options, adapter);
  await proveAdapterPlace(options);
  const { tokenizer, config } = opened;
  assertDistinct(
    {
      ...{ "--out": options.out, "--json": options.json, "--state": options.state },
      "--save-adapter": outputsOf(options),
    },
    {
      ...Object.fromEntries((options.read ?? []).map((path) => [`--read ${path}`, path])),
      ...{ "--prompt-file": options.promptFile, "--load-adapter": options.loadAdapter },
      "--model": opened.source,
    },
  );
  const { seed, templora, tokens, schedule, onRepetition } = options;
  const windows = resolveWindows(options, recipe, config, true);
  const chunks = templora ? windows.reuseCache + 1 : 1;
  const modelFiles = servingWindows(opened, windows, chunks);
  if (templora) assertSlides(config, options.schedule);
  checkCheckpointLayers(options, config.num_hidden_layers);
  using terminal = openTerminal(options, io);
  using records = await openRecords(options.json, io, terminal);
  using out = options.out === undefined ? null : await OutputFile.open(options.out, io, terminal);
  const read: Int32Array<ArrayBuffer>[] = [];
  const { special: parseSpecial = false } = options;
  for (const path of options.read ?? [])
    read.push(await fileTokens(path, tokenizer, terminal, io, { parseSpecial }));
  const ids = await encodePrompt(options, modelFiles, terminal, io);
  const { temperature, topK, topP, minP, repetitionPenalty = templora ? 1.12 : 1 } = options;
  const plan = {
    ...{ ...windows, recipe, adapter, seed, templora, tokens, schedule },
    sampling: {
      ...{ temperature, top_k: topK, top_p: topP, min_p: minP },
      repetition_penalty: repetitionPenalty,
    },
    stopIds: options.stopAtEos ? tokenizer.eosIds : [],
    banIds: options.stopAtEos ? [] : tokenizer.eosIds,
  };
  const skips = onRepetition === "skip" && { onRepetition }; // the others write the same, as far as they go
  const parts = {
    ...skips,
    prompt: [...ids],
    read: read.map(({ buffer }) => hash(new Uint8Array(buffer))),
    ...plan,
  };
  await using state = await openState(
    "generate",
    parts,
    modelFiles,
    { ...options, outputs: [out, records.file] },
    terminal,
    io,
  );
  await using device = await RunDevice.open(options, terminal);
  if (templora && schedule === "parallel") assertRoomBeside(device.now);
  const { checkpointLayers } = options;
  const { tokens: _, ...session } = {
    ...plan,
    checkpointLayers,
    onRepetition,
    baseline: false,
    tokenScores: false,
  };
  const work = { ...session, tokens, read };
  const given = read.reduce((sum, { length }) => sum + length, ids.length);
  await assertFits(device.now, modelFiles, session, { tokens: given + tokens, writes: true });
  const run = { options, modelFiles, terminal, records, out, state, io };
  await keeping([out, records.file], terminal, () =>
    keepingAfterFaults(state, terminal, () => writeText(ids, work, device, run)),
  );
  if (!state.kept) await state.discard((line) => terminal.note(line));
}

type Work = Omit<SessionOptions, keyof Memory | "keepBos"> & {
  readonly tokens: number;
  readonly read: readonly Int32Array[];
};

interface Run {
  readonly options: GenerateCommandOptions;
  readonly modelFiles: ModelFiles;
  readonly terminal: Terminal;
  readonly records: RecordSink;
  readonly out: OutputFile | null;
  readonly state: RunState;
  readonly io: Io;
}

async function writeText(ids: Int32Array, work: Work, device: RunDevice, run: Run): Promise<void> {
  const { options, modelFiles, terminal, records, out, state, io } = run;
  const newest = (): Keeper => state.keeper(0, (line) => terminal.note(line));
  const { earlier } = newest();
  const ends = endsOf(work.read);
  const given = (ends.at(-1) ?? 0) + ids.length;
  const earlierIds = [...(earlier?.snapshot.ids.subarray(given) ?? [])];
  const { tokenizer } = modelFiles;
  const stream = tokenizer.stream({ continued: true });
  const text = new GatheredText();
  const earlierText = earlierIds.map((id) => stream.push(id)).join("");
  text.add(earlierText);
  out?.write(earlierText); // before the model is loaded, so that an interruption meanwhile does not lose it
  let status: WritingStatus | null = null;
  const load = (now: Device): Promise<Llama> =>
    loadModel(modelFiles, now, terminal, io, () => status?.tick());
  let loaded: Llama | null = await device.outlive(load);
  const { chunk, window, recipe, sampling, tokens, reuseCache } = work;
  records.write({
    ...configRecord("generate", options, device.now, recipe, work),
    ...adapterRecord(options, work.adapter),
    ...(options.read && { read: options.read, read_tokens: work.read.map(({ length }) => length) }),
    ...{ prompt_tokens: ids.length, tokens, reuse_cache: reuseCache, schedule: work.schedule, sampling },
    ...{ stop_at_eos: options.stopAtEos === true, end_tokens: tokenizer.eosIds },
    on_repetition: options.onRepetition,
    ...resumedUnder(state, device.now, terminal),
  });
  terminal.note(
    (options.read ? `${count(given - ids.length)} tokens to read, ` : "") +
      `prompt of ${count(ids.length)} token${ids.length === 1 ? "" : "s"}, ${count(tokens)} to write; ` +
      (work.templora
        ? `an update every ${chunk}, window ${window}, lr ${recipe.lr}`
        : `base model only, window ${window}`) +
      endings(tokenizer, options),
  );
  // With JSON on stdout the text goes to --out and into the summary only.
  const shown = options.json === "-" ? null : io.stdout;
  const before = { written: earlierIds.length, learnt: earlier?.snapshot.learnt ?? 0 };
  status = new WritingStatus(terminal, io, { ...work, given, ends }, before);
  status.show(earlierText, shown);
  const totals = new Totals();
  const chunks: ChunkRecord[] = [];
  const learnt = (record: ChunkRecord): void => {
    const repeated = chunks.at(-1)?.repeats === 1;
    totals.add(record);
    chunks.push(record);
    const text = options.read?.[ends.findIndex((end) => record.start < end)] ?? null;
    records.write(chunkRecord(text, record));
    noteUpdate(record, recipe, terminal);
    if (record.repeats === 1 && !repeated) terminal.note(repeating(record, options.onRepetition));
  };
  earlier?.records.forEach(learnt);
  const { updates } = status.untilText();
  if (updates > 1)
    terminal.note(`first ${count(updates)} updates on ${options.read ? "what is read" : "the prompt"}`);
  let written = 0;
  const show = (piece: string): void => {
    text.add(piece);
    if (piece === "") return;
    out?.write(piece);
    status?.show(piece, shown);
  };
  const finish = (): void => {
    show(stream.end());
    status?.end(shown);
    status = null;
  };
  const latency = new LatencyMeter(chunk, ends.at(-1) ?? 0);
  let began = performance.now(); // to write: what is given is learnt before
  const took = (step: Written, session: Session): void => {
    if (step.type === "token") {
      latency.token(given + earlierIds.length + written++);
      show(stream.push(step.id));
      status?.token();
      return;
    }
    learnt(step.record);
    if (written === 0) began = performance.now();
    status?.updated(session.learnt);
    const until = status?.untilText();
    if (updates > 1 && until?.updates === updates - 1)
      terminal.note(
        `the text begins after ${count(until.updates)} more, in about ${duration(until.seconds)}`,
      );
  };
  try {
    await device.outlive(async (now) => {
      using model = loaded ?? (await load(now));
      loaded = null;
      const keeper = newest();
      using session = new Session(model, work, work.schedule === "parallel" ? besideWriter : undefined);
      // What was shown before the device was lost comes again where the copy was taken before it.
      const { records: behind, snapshot } = keeper.earlier ?? { records: [], snapshot: { ids: [] } };
      const again = {
        token: earlierIds.length + written - Math.max(0, snapshot.ids.length - given),
        chunk: chunks.length - behind.length,
      };
      for await (const step of writeTokens(session, ids, { ...work, keeper, signal: io.signal })) {
        if (again[step.type]-- > 0) continue;
        took(step, session);
        device.progressed();
      }
      if (!io.signal.aborted) {
        const whole = { session, keeper, records: chunks };
        await keepAdapter(options, whole, modelFiles.source, terminal);
      }
    });
  } finally {
    loaded?.dispose();
    finish();
  }
  throwIfKept(state, io, terminal);
  const seconds = (performance.now() - began) / 1000;
  const p = totals.perplexities;
  const { seconds: spent, ...summary } = summaryRecord(null, p, device.now);
  records.write({
    ...summary,
    seconds: { ...(spent as object), latency: latency.figures }, // all times are there
    tokens_per_second: written / seconds,
    generated_tokens: earlierIds.length + written,
    repeating_chunks: chunks.filter(({ repeats }) => repeats === 1).length,
    ...(state.kept && { ended_by: "repetition" }),
    generated: text.whole,
  });
  terminal.note(
    `${count(written)} tokens in ${duration(seconds)}, ${rate(written / seconds)} tokens/s` +
      inWords(latency.figures) +
      (p.lora_ppl === null
        ? ""
        : `; perplexity of the chunks trained on, before training: ${figure(p.lora_ppl)}`),
  );
}

function inWords(latency: Latency | null): string {
  if (!latency) return "";
  const [median, p95, longest] = [latency.median, latency.p95, latency.longest].map((s) => rate(1000 * s));
  return `; from token to token ${median} ms (median), ${p95} ms (p95), ${longest} ms at most`;
}

/** What is said where a text begins to repeat itself. */
function repeating({ index, distinct_4, entropy = null }: ChunkRecord, answer: RepetitionAnswer): string {
  const share = `${Math.round(100 * (distinct_4 ?? 0))} % of its 4-grams are distinct`;
  const nats = entropy === null ? "" : `, ${figure(entropy)} nats of entropy a token`;
  const then = { report: "it is learnt all the same", skip: "it is not learnt", stop: "it ends here" }[
    answer
  ];
  return `chunk ${index}: the text repeats itself (${share}${nats}): ${then} (--on-repetition ${answer})`;
}

/** Says which tokens end the text, or never come. */
function endings(tokenizer: Tokenizer, { stopAtEos }: GenerateCommandOptions): string {
  const ends = tokenizer.eosIds.map((id) => tokenizer.decode([id]) || `id ${id}`).join(", ");
  return ends === "" ? "" : `; ${stopAtEos ? "stops at" : "never chooses"} ${ends}`;
}

/** There must be one prompt, or a text to read. */
function checkPrompt({ prompt, promptFile, read, chat }: GenerateCommandOptions, io: Io): void {
  if (prompt !== undefined && promptFile !== undefined)
    throw new BadInputError("--prompt and --prompt-file exclude each other; give one of them");
  if (prompt?.trim() === "")
    throw new BadInputError("--prompt is empty: give at least one word to go on from");
  const none = prompt === undefined && promptFile === undefined;
  if (none && read && chat)
    throw new BadInputError("--chat puts a prompt into the template: give --prompt or --prompt-file");
  if (none && !read && io.stdin.isTTY === true)
    throw new BadInputError("nothing to continue: give --prompt, --prompt-file, or a text on standard input");
}

/** The tokens of the prompt from its flag, its file, or a pipe; none where the text that is read last goes on. */
async function encodePrompt(
  { prompt, promptFile, read, chat, special: parseSpecial = false }: GenerateCommandOptions,
  { tokenizer, source }: ModelFiles,
  terminal: Terminal,
  io: Io,
): Promise<Int32Array> {
  if (read && prompt === undefined && promptFile === undefined) return new Int32Array();
  const name = promptFile ?? "standard input";
  const parts =
    prompt !== undefined
      ? [prompt]
      : promptFile !== undefined
        ? untilStopped(readTextParts(promptFile), io)
        : decodeText(bytesOf(io), name);
  const ids = chat
    ? Int32Array.from(
        tokenizer.chat([{ role: "user", content: await wholeText(parts, name) }], { parseSpecial }),
      )
    : promptFile === undefined
      ? await tokenizer.encodeParts(parts, { parseSpecial, onTurn: () => throwIfStopped(io) })
      : await fileTokens(promptFile, tokenizer, terminal, io, { parseSpecial });
  if (ids.length === 0) throw new BadInputError(`${source}: its tokenizer makes no token of the prompt`);
  return ids;
}

async function* bytesOf(io: Io): AsyncGenerator<Uint8Array> {
  for await (const part of untilStopped(io.stdin, io))
    yield typeof part === "string" ? Buffer.from(part) : part;
}
