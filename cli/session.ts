/** What commands with a model share: opening it on a device, and the records' common parts. */
import type { Device } from "../engine/device.ts";
import { BadInputError } from "../engine/errors.ts";
import { Task } from "../engine/task.ts";
import { openDevice } from "../engine/backends/open.ts";
import { type Checkpoint, openCheckpoint } from "../model/checkpoint.ts";
import { Llama } from "../model/llama.ts";
import type { Recipe } from "../templora/config.ts";
import type { ChunkRecord, Perplexities } from "../templora/records.ts";
import { InterruptedError, asFlags } from "./errors.ts";
import { bytes } from "./format.ts";
import type { CommonOptions, Windows } from "./options.ts";
import type { Io, Terminal } from "./output.ts";

/** A model's files: opened and checked, no weights read yet. */
export async function openModel({ model }: CommonOptions): Promise<Checkpoint> {
  if (model === undefined || model === "") {
    throw new BadInputError(
      "--model is missing: give a Hugging Face folder, a .gguf file, or smollm2-135m after npm run fetch:smollm2",
    );
  }
  return openCheckpoint(model);
}

/** Says on stderr what was chosen and why. */
export async function openChosenDevice(
  { device, threads }: CommonOptions,
  terminal: Terminal,
): Promise<Device> {
  const explain = (line: string): void => terminal.note(asFlags(line));
  return openDevice(device, { threads, v8Flags: true, explain });
}

/** Loads the weights onto a device. `onWork` hears every kernel call. */
export async function loadModel(
  checkpoint: Checkpoint,
  device: Device,
  terminal: Terminal,
  io: Io,
  onWork: () => void,
): Promise<Llama> {
  const task = new Task(observed(device, onWork));
  const model = await Llama.load(task, checkpoint, (done, total) => {
    throwIfStopped(io);
    terminal.progress({
      label: "loading the model",
      fraction: done / total,
      figures: `${bytes(done)} of ${bytes(total)}`,
    });
  });
  terminal.endProgress();
  return model;
}

/** The same device, with `onWork` called before each kernel: a chunk takes long, and a progress bar should move in it. */
function observed(device: Device, onWork: () => void): Device {
  return {
    info: device.info,
    viewAlignment: device.viewAlignment,
    allocate: (dtype, length, label) => device.allocate(dtype, length, label),
    free: (buffer) => device.free(buffer),
    write: (view, data) => device.write(view, data),
    read: (view) => device.read(view),
    run: (call) => {
      onWork();
      device.run(call);
    },
    flush: () => device.flush(),
    stats: () => device.stats(),
    close: () => device.close(),
    [Symbol.asyncDispose]: () => device.close(),
  };
}

/** Lets signals and other events in: the CPU device computes without ever giving the event loop a turn. */
export const eventLoop = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

export function throwIfStopped(io: Io): void {
  if (io.signal.aborted) throw new InterruptedError("interrupted");
}

/** The same, after a run that keeps its state and ends early when it is asked to stop. */
export function throwIfKept(io: Io, terminal: Terminal): void {
  if (io.signal.aborted) terminal.note("stopped; the same command with --resume goes on from here");
  throwIfStopped(io);
}

/** The first JSON line. */
export function configRecord(
  command: string,
  options: CommonOptions,
  device: Device,
  recipe: Recipe,
  { window, trainWindow, chunk }: Windows,
  version: string,
): object {
  const { kind, description, software, facts } = device.info;
  return {
    type: "config",
    command,
    model: options.model,
    device: kind,
    adapter_info: { description, software, ...facts },
    recipe,
    window,
    train_window: trainWindow,
    chunk,
    seed: options.seed,
    version,
  };
}

/** A chunk's JSON line. `text` is null where there is no file. */
export function chunkRecord(text: string | null, r: ChunkRecord): object {
  const { index, start, tokens, context, base_nll, lora_nll, train_loss, lr, flops, seconds } = r;
  return {
    type: "chunk",
    text,
    index,
    start,
    tokens,
    context,
    base_nll,
    lora_nll,
    train_loss,
    lr,
    flops,
    seconds,
  };
}

/** A text's JSON line, or with null that of all texts. */
export function summaryRecord(
  text: string | null,
  p: Perplexities,
  device: Device,
): Readonly<Record<string, unknown>> {
  return {
    type: "summary",
    text,
    tokens: p.tokens,
    base_ppl: p.base_ppl,
    lora_ppl: p.lora_ppl,
    base_mean_chunk_ppl: p.base_mean_chunk_ppl,
    lora_mean_chunk_ppl: p.lora_mean_chunk_ppl,
    reduction_percent: p.reduction_percent,
    flops: p.flops,
    seconds: p.seconds,
    tokens_per_second: tokensPerSecond(p),
    peak_bytes: peakBytes(device),
  };
}

/** Of the time that was spent on the chunks, so that a resumed run has the figure of an uninterrupted one. */
export function tokensPerSecond({ tokens, seconds }: Perplexities): number {
  const spent = seconds.base + seconds.score + seconds.train;
  return spent > 0 ? tokens / spent : 0;
}

/** Most memory in use at a time: of this process (the cpu device's included), and of the device. */
export function peakBytes(device: Device): { host: number; device: number } {
  return { host: process.resourceUsage().maxRSS * 1024, device: device.stats().peakBytes };
}
