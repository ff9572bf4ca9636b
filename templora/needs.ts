/** How much of a device's memory a run takes, found without taking it: its steps on a device that only counts. */
import { CountingDevice } from "../engine/backends/counting.ts";
import type { Device } from "../engine/device.ts";
import { Llama } from "../model/llama.ts";
import type { ModelFiles } from "../model/model_files.ts";
import { Session } from "./session.ts";
import type { GivenOptions } from "./session_options.ts";

/** In bytes. */
export interface Needs {
  readonly weights: number;
  /** The adapter with its gradients and moments, caches, activations, and what kernels need. */
  readonly rest: number;
}

export interface Run {
  /** Tokens of the text, those to be written included. */
  readonly tokens: number;
  /** Whether some are written. */
  readonly writes: boolean;
}

/**
 * What a session with these options needs at most, on a device like `like`. Exact on the CPU, where the same steps take the same
 * memory each time; on WebGPU without what the driver takes for itself.
 */
export async function needsOf(
  like: Pick<Device, "info" | "viewAlignment">,
  modelFiles: ModelFiles,
  given: GivenOptions,
  { tokens, writes }: Run,
): Promise<Needs> {
  await using device = new CountingDevice(like);
  using model = await Llama.unfilled(device, modelFiles);
  const weights = device.bytes;
  using session = new Session(model, { ...given, recipe: { ...given.recipe, epochs: 1 } });
  const { chunk, window, trainWindow, templora, baseline } = session.options;
  // as far into the text as the longest context reaches, then one chunk
  const context = Math.ceil(Math.max(window, trainWindow) / chunk) * chunk;
  const learnt = Math.max(0, Math.min(context, Math.ceil(tokens / chunk) * chunk - chunk));
  const length = Math.min(tokens, learnt + chunk);
  await session.restore({
    ...{ options: session.options, ids: new Int32Array(length), written: new Int32Array(length), learnt },
    ...{ spent: null, learner: null, writer: null },
  });
  if (length > learnt && (templora || baseline)) await session.learn();
  for (let n = 0; writes && n < 2 && !session.due; n++) await session.next();
  return { weights, rest: device.bytes - weights };
}
