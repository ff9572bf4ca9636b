/** Shared by the commands that use a model: opening it on a device, its state, and the common parts of records. */
import { statSync } from "node:fs";
import type { Device } from "../engine/device.ts";
import { BadInputError } from "../engine/errors.ts";
import { observed } from "../engine/backends/observed.ts";
import { openDevice } from "../engine/backends/open.ts";
import { servingPositions } from "../model/config.ts";
import { extended } from "../model/extend.ts";
import { withAttention } from "../model/reach.ts";
import { type ModelFiles, configured, openModelFiles } from "../model/model_files.ts";
import { Llama } from "../model/llama.ts";
import type { Recipe } from "../templora/config.ts";
import type { ChunkRecord, Perplexities, Spent, Split } from "../templora/records.ts";
import { asFlags } from "./errors.ts";
import { bytes, figure } from "./format.ts";
import { findModel } from "./hub/find.ts";
import { type Identity, type Numerics, identityOf, numericsOf } from "./identity.ts";
import type { CommonOptions, MethodOptions, ModelOptions, StateOptions, TextOptions } from "./options.ts";
import type { SessionSnapshot } from "../templora/session.ts";
import type { Memory, Windows } from "../templora/session_options.ts";
import { type Io, Terminal } from "./output.ts";
import { type Outputs, type Place, RunState } from "./state.ts";
import { version } from "./version.ts";

/** The terminal, with what --quiet and `--json -` leave of its streams. */
export function openTerminal({ quiet, json }: Pick<CommonOptions, "quiet" | "json">, io: Io): Terminal {
  return new Terminal(io, { quiet: quiet === true, jsonOnStdout: json === "-" });
}

/** A model's files: opened and checked, no weights read yet. */
export async function openModel(
  options: ModelOptions & Pick<CommonOptions, "quiet" | "json"> & MethodOptions,
  io: Io,
): Promise<ModelFiles> {
  const { model } = options;
  if (model === undefined || model === "") {
    throw new BadInputError(
      "--model is missing: give a Hugging Face folder, a .gguf file, or the name of a model after templora pull NAME",
    );
  }
  using terminal = openTerminal(options, io);
  const modelFiles = await openModelFiles(await findModel(model, options, terminal, io));
  try {
    return withMethod(modelFiles, options);
  } catch (error) {
    await modelFiles.close();
    throw error;
  }
}

/** The model with other positions or attention than its own. */
export function withMethod(modelFiles: ModelFiles, { extend, attention }: MethodOptions): ModelFiles {
  let { config } = modelFiles;
  if (extend) config = extended(config, extend);
  if (attention) config = withAttention(config, attention);
  return configured(modelFiles, config);
}

/** The model for such windows and so many chunks after them (`resolveWindows`). */
export function servingWindows(
  modelFiles: ModelFiles,
  { chunk, window, trainWindow }: Omit<Windows, "reuseCache">,
  chunks = 1,
): ModelFiles {
  const positions = chunk + Math.max(window + chunk * (chunks - 1), trainWindow);
  return configured(modelFiles, servingPositions(modelFiles.config, positions));
}

/** Says on stderr what was chosen and why, unless it is to be `quiet`. */
export async function openChosenDevice(
  { device, threads }: CommonOptions,
  terminal: Terminal,
  quiet = false,
): Promise<Device> {
  const explain = (line: string): void => void (quiet || terminal.note(asFlags(line)));
  return openDevice(device, { threads, v8Flags: true, explain });
}

/** The state of a run that the model and `parts` identify. The first time, all of a model's files are read for its hash. The caller disposes of it. */
export async function openState<R = ChunkRecord, S extends Place = SessionSnapshot>(
  command: string,
  parts: object,
  modelFiles: ModelFiles,
  options: StateOptions & Outputs,
  terminal: Terminal,
  io: Io,
): Promise<RunState<R, S>> {
  const note = (line: string): void => terminal.note(line);
  const identify = async (): Promise<Identity> => {
    const identity = await identityOf(command, modelFiles, parts, (done, total) => {
      throwIfStopped(io);
      bytesDone(terminal, "hashing the model", done, total);
    });
    terminal.endProgress();
    return identity;
  };
  return RunState.open<R, S>(options, identify, note, io.checkpoints);
}

/** For a run that is resumed under other numerics than it began with: a note on stderr, and fields of the first JSON line. */
export function resumedUnder(
  state: Pick<RunState, "computedUnder">,
  device: Device,
  terminal: Terminal,
): object {
  const now = numericsOf(device);
  const before = state.computedUnder(now);
  if (!before) return {};
  const inWords = (numerics: Numerics, others: Numerics): string =>
    Object.entries(numerics)
      .filter(([key, value]) => String(value) !== "" && String(value) !== String(others[key]))
      .map(([key, value]) => `${key} ${String(value)}`)
      .join(", ");
  terminal.note(
    `resumed under other numerics (${inWords(now, before)}) than before (${inWords(before, now)}): last digits may differ from an uninterrupted run's`,
  );
  return { resumed_under: now, begun_under: before };
}

export function bytesDone(terminal: Terminal, label: string, done: number, total: number): void {
  terminal.progress({ label, fraction: done / total, figures: `${bytes(done)} of ${bytes(total)}` });
}

/** Loads the weights onto a device. `onWork` is called before every kernel. */
export async function loadModel(
  modelFiles: ModelFiles,
  device: Device,
  terminal: Terminal,
  io: Io,
  onWork: () => void,
): Promise<Llama> {
  const model = await Llama.load(observed(device, onWork), modelFiles, (done, total) => {
    throwIfStopped(io);
    bytesDone(terminal, "loading the model", done, total);
  });
  terminal.endProgress();
  io.opened?.(device);
  return model;
}

export function throwIfStopped(io: Io): void {
  io.signal.throwIfAborted();
}

/** Throws when the loop over a run's steps has stopped before its end, and says how to continue it. */
export function throwIfKept(state: Pick<RunState, "kept" | "path">, io: Io, terminal: Terminal): void {
  if (state.kept === null) return;
  const { size = 0 } = statSync(state.path, { throwIfNoEntry: false }) ?? {}; // another process may have ended the run
  const whence =
    state.kept === "this"
      ? "from here"
      : "from where an earlier run of it has stopped, which is further than this one has come";
  terminal.note(
    `stopped; the same command with --resume goes on ${whence} (${state.path}, ${bytes(size)}; remove it to forget the run)`,
  );
  throwIfStopped(io);
}

/** The first JSON line of a run. `windows` null: no text is cut, or each cell of a table has its own, and so with `recipe`. */
export function configRecord(
  command: string,
  options: CommonOptions & MethodOptions & TextOptions,
  device: Device,
  recipe: Recipe | null,
  windows: Windows | null,
): object {
  const { kind, description, software, facts } = device.info;
  const { attention } = options;
  return {
    type: "config",
    command,
    model: options.model,
    ...(options.extend && { extend: options.extend }),
    ...(attention && { attention }),
    ...(attention?.method === "sliding" && { attention_window: attention.window }),
    ...(options.special === true && { special: true }),
    device: kind,
    adapter_info: { description, software, ...facts },
    ...(recipe && { recipe }),
    ...(windows && { window: windows.window, train_window: windows.trainWindow, chunk: windows.chunk }),
    seed: options.seed,
    version: version(),
  };
}

/** Of the first JSON line, or of a cell's. */
export const memoryRecord = ({ knn, knnTokens }: Memory): object =>
  knn !== 0 ? { knn, knn_tokens: knnTokens } : {};

/** A chunk's JSON line. `text` is null where there is no file. */
export function chunkRecord(text: string | null, r: ChunkRecord): object {
  const { skipped_steps, ...figures } = r;
  return { type: "chunk", text, ...figures, ...(skipped_steps > 0 && { skipped_steps }) };
}

/**
 * Says on stderr when optimiser steps of a chunk were skipped, and when the others went too far: the chunk was twice as perplexing in
 * the last epoch on it as in the first, which learning it is to prevent.
 */
export function noteUpdate(
  { index, skipped_steps: n, train_loss: losses }: ChunkRecord,
  { epochs }: Pick<Recipe, "epochs">,
  terminal: Terminal,
): void {
  if (n > 0) terminal.note(`chunk ${index}: ${n} optimiser step(s) skipped, their gradients were not finite`);
  const steps = Math.ceil(losses.length / epochs); // of an epoch
  const [first, last] = [losses.slice(0, steps), losses.slice(-steps)].map(
    (some) => some.reduce((sum, loss) => sum + loss, 0) / steps,
  );
  if (first === undefined || last === undefined || !(last - first > Math.LN2)) return;
  terminal.note(
    `chunk ${index}: its loss rose from ${figure(first)} to ${figure(last)} while it was learnt: the steps go too far, lower lr`,
  );
}

/** A text's closing JSON line; the one for all texts has null as its text. */
export function summaryRecord(
  text: string | null,
  p: Perplexities,
  device: Device,
): Readonly<Record<string, unknown>> {
  const [tokens_per_second, peak_bytes] = [tokensPerSecond(p), peakBytes(device)];
  const seconds = { ...p.seconds, per_token: perToken(p, "seconds") };
  return { type: "summary", text, ...p, seconds, tokens_per_second, peak_bytes };
}

/** Only the time spent on chunks counts, so that a resumed run has the figure of an uninterrupted one. */
export function tokensPerSecond({ tokens, seconds }: Perplexities): number {
  const spent = seconds.base + seconds.score + seconds.train;
  return spent > 0 ? tokens / spent : 0;
}

/** What a token has cost. */
export function perToken(p: Perplexities, amount: keyof Spent): Split {
  const { base, score, train } = p[amount];
  const tokens = Math.max(1, p.tokens);
  return { base: base / tokens, score: score / tokens, train: train / tokens };
}

/** Most memory in use at a time: of this process (the cpu device's included), and of the device. */
export function peakBytes(device: Device): { host: number; device: number } {
  return { host: process.resourceUsage().maxRSS * 1024, device: device.stats().peakBytes };
}
