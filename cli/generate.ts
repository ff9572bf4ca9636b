/** `templora generate`: writes a text that streams as it is produced, training on it as it grows. */
import type { Device } from "../engine/device.ts";
import { BadInputError } from "../engine/errors.ts";
import type { Checkpoint } from "../model/checkpoint.ts";
import { readText } from "../model/text.ts";
import { type GenerateOptions, generate } from "../templora/decode.ts";
import { type ChunkRecord, Totals } from "../templora/records.ts";
import type { Keeper } from "../templora/state.ts";
import { count, duration, figure, rate } from "./format.ts";
import {
  type CommonOptions,
  type TempLoraOptions,
  resolveCheckpointLayers,
  resolveRecipe,
  resolveWindows,
} from "./options.ts";
import { type Io, type RecordSink, Terminal, TextFile, openRecords } from "./output.ts";
import { version } from "./version.ts";
import {
  chunkRecord,
  configRecord,
  eventLoop,
  loadModel,
  openChosenDevice,
  openModel,
  summaryRecord,
  throwIfKept,
} from "./session.ts";
import { RunState, type StateOptions, identityOf } from "./state.ts";
import { WritingStatus } from "./status.ts";

export interface GenerateCommandOptions extends CommonOptions, TempLoraOptions, StateOptions {
  readonly prompt?: string;
  readonly promptFile?: string;
  readonly chat?: boolean;
  readonly tokens: number;
  readonly out?: string;
  readonly stopAtEos?: boolean;
  readonly temperature: number;
  readonly topK: number;
  readonly topP: number;
  readonly minP: number;
  readonly repetitionPenalty?: number;
}

export async function generateText(options: GenerateCommandOptions, io: Io): Promise<void> {
  const recipe = resolveRecipe(options);
  const prompt = await readPrompt(options, io);
  const checkpoint = await openModel(options);
  try {
    const { tokenizer, config } = checkpoint;
    const reserve = options.templora ? options.reuseCache + 1 : 1;
    const windows = resolveWindows(options, config.max_position_embeddings, reserve);
    resolveCheckpointLayers(options, config.num_hidden_layers);
    const ids = encodePrompt(prompt, options, checkpoint);
    const terminal = new Terminal(io, { quiet: options.quiet === true, jsonOnStdout: options.json === "-" });
    const { seed, templora, tokens, reuseCache } = options;
    const {
      temperature,
      topK: top_k,
      topP: top_p,
      minP: min_p,
      repetitionPenalty: repetition_penalty = templora ? 1.12 : 1,
    } = options;
    const plan = {
      ...{ ...windows, recipe, seed, templora, tokens, reuseCache },
      sampling: { temperature, top_k, top_p, min_p, repetition_penalty },
      stopIds: options.stopAtEos ? tokenizer.eosIds : [],
      banIds: options.stopAtEos ? [] : tokenizer.eosIds,
    };
    const device = await openChosenDevice(options, terminal);
    try {
      const identity = identityOf("generate", checkpoint, device, { prompt: [...ids], ...plan });
      const state = await RunState.open(identity, options);
      const work = { ...plan, signal: io.signal, keeper: state.keeper(0) };
      const out = options.out === undefined ? null : new TextFile(options.out);
      try {
        const records = openRecords(options.json, io);
        try {
          await write(ids, work, device, { options, checkpoint, terminal, records, out, io });
          await state.discard();
        } finally {
          terminal.endProgress();
          records.close();
        }
      } finally {
        out?.close();
      }
    } finally {
      await device.close();
    }
  } finally {
    await checkpoint.close();
  }
}

interface Run {
  readonly options: GenerateCommandOptions;
  readonly checkpoint: Checkpoint;
  readonly terminal: Terminal;
  readonly records: RecordSink;
  readonly out: TextFile | null;
  readonly io: Io;
}

async function write(
  ids: Int32Array,
  work: GenerateOptions & { keeper: Keeper },
  device: Device,
  run: Run,
): Promise<void> {
  const { options, checkpoint, terminal, records, out, io } = run;
  const { earlier } = work.keeper;
  const stream = checkpoint.tokenizer.stream({ continued: true });
  let text = earlier.tokens.map((id) => stream.push(id)).join("");
  out?.write(text); // at once, so that loading the model is no time to lose it
  let status: WritingStatus | null = null;
  const model = await loadModel(checkpoint, device, terminal, io, () => status?.tick());
  model.checkpointLayers = options.checkpointLayers;
  const { chunk, window, recipe, sampling, tokens, reuseCache } = work;
  records.write({
    ...configRecord("generate", options, device, recipe, work, version()),
    ...{ prompt_tokens: ids.length, tokens, reuse_cache: reuseCache, sampling },
  });
  terminal.note(
    `prompt of ${count(ids.length)} tokens, ${count(tokens)} to write; ` +
      (work.templora
        ? `an update every ${chunk}, window ${window}, lr ${recipe.lr}`
        : `base model only, window ${window}`),
  );
  // With JSON on stdout the text goes to --out and into the summary only.
  const shown = options.json === "-" ? null : io.stdout;
  status = new WritingStatus(terminal, io, ids.length, work);
  status.show(text, shown);
  const totals = new Totals();
  const learnt = (record: ChunkRecord): void => {
    totals.add(record);
    records.write(chunkRecord(null, record));
  };
  earlier.records.forEach(learnt);
  let written = 0;
  const show = (piece: string): void => {
    text += piece;
    if (piece === "") return;
    out?.write(piece);
    status?.show(piece, shown);
  };
  const finish = (): void => {
    show(stream.end());
    status?.end();
    if (shown?.isTTY === true && !text.endsWith("\n")) shown.write("\n");
    status = null;
  };
  const began = performance.now();
  try {
    for await (const step of generate(model, ids, work)) {
      if (step.type === "token") {
        written++;
        show(stream.push(step.id));
        status.token();
      } else {
        learnt(step.record);
        status.updated();
      }
      await eventLoop();
    }
  } finally {
    finish();
    model.dispose();
  }
  throwIfKept(io, terminal);
  const seconds = (performance.now() - began) / 1000;
  const p = totals.perplexities;
  records.write({
    ...summaryRecord(null, p, device),
    ...{
      tokens_per_second: written / seconds,
      generated_tokens: earlier.tokens.length + written,
      generated: text,
    },
  });
  terminal.note(
    `${count(written)} tokens in ${duration(seconds)}, ${rate(written / seconds)} tokens/s` +
      (p.lora_ppl === null
        ? ""
        : `; perplexity of the chunks trained on, before training: ${figure(p.lora_ppl)}`),
  );
}

/** The prompt from its flag, its file, or a pipe. */
async function readPrompt({ prompt, promptFile }: GenerateCommandOptions, io: Io): Promise<string> {
  if (prompt !== undefined && promptFile !== undefined) {
    throw new BadInputError("--prompt and --prompt-file exclude each other; give one of them");
  }
  if (promptFile !== undefined) return readText(promptFile);
  if (prompt === undefined && io.stdin.isTTY === true) {
    throw new BadInputError("nothing to continue: give --prompt, --prompt-file, or a text on standard input");
  }
  const given = prompt ?? (await readPipe(io));
  if (given.trim() !== "") return given;
  throw new BadInputError(
    prompt === undefined
      ? "standard input is empty: give --prompt, --prompt-file, or a text on standard input"
      : "--prompt is empty: give at least one word to go on from",
  );
}

async function readPipe(io: Io): Promise<string> {
  const parts: Uint8Array[] = [];
  for await (const part of io.stdin) parts.push(typeof part === "string" ? Buffer.from(part) : part);
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(Buffer.concat(parts));
  } catch {
    throw new BadInputError(
      "standard input is not UTF-8; convert it first, e.g. with iconv -f latin1 -t utf-8",
    );
  }
}

function encodePrompt(
  prompt: string,
  { chat }: GenerateCommandOptions,
  { tokenizer, source }: Checkpoint,
): Int32Array {
  const ids = chat ? tokenizer.chat([{ role: "user", content: prompt }]) : tokenizer.encode(prompt);
  if (ids.length === 0) throw new BadInputError(`${source}: its tokenizer makes no token of the prompt`);
  return Int32Array.from(ids);
}
