/** Says before a model is loaded that a run would not fit the memory, and what would make it fit. */
import { CPU_MEMORY } from "../engine/backends/cpu/build.ts";
import type { DeviceLike } from "../engine/backends/counting.ts";
import { BadInputError, DeviceError } from "../engine/errors.ts";
import type { ModelFiles } from "../model/model_files.ts";
import { type RunLength, atMost, needsOf } from "../templora/needs.ts";
import type { GivenOptions } from "../templora/session_options.ts";
import { bytes } from "./format.ts";

interface Memory {
  readonly most: number;
  readonly why: string;
}

/** What a device's memory may be at most, and why; without end for a GPU, whose driver does not tell. */
function memoryOf({ info }: DeviceLike): Memory {
  const free = info.kind === "cpu" || info.software ? process.availableMemory() : Infinity;
  return info.kind === "cpu" && free > CPU_MEMORY
    ? { most: CPU_MEMORY, why: "that WebAssembly can address" }
    : { most: free, why: "of this machine's memory" };
}

/** Throws where the run needs more than there is (`memory`), or something larger than the device takes. */
export async function assertFits(
  device: DeviceLike,
  modelFiles: ModelFiles,
  options: GivenOptions,
  length: RunLength,
  memory = memoryOf(device),
): Promise<void> {
  const { info } = device;
  const { total: enough, largest } = atMost(modelFiles, options, length);
  const limit = Math.min(...Object.values<number>({ ...device.limits }));
  if (enough <= memory.most && largest <= limit) return;
  /** What a run takes, in bytes, and what stands in its way. */
  const trial = async (given: GivenOptions): Promise<{ total: number; obstacle?: string }> => {
    try {
      const { weights, rest } = await needsOf(device, modelFiles, given, length);
      const total = weights + rest;
      if (total <= memory.most) return { total };
      const parts = `weights ${bytes(weights)}; adapter, cache and activations ${bytes(rest)}`;
      const need = `needs ${bytes(total)} on the ${info.kind} device (${parts})`;
      return { total, obstacle: `${need}, more than the ${bytes(memory.most)} ${memory.why}` };
    } catch (error) {
      if (!(error instanceof DeviceError)) throw error;
      return { total: Infinity, obstacle: `does not fit the ${info.kind} device: ${error.message}` };
    }
  };
  const { obstacle } = await trial(options);
  if (obstacle === undefined) return;
  const { num_hidden_layers: layers } = modelFiles.config;
  const { chunk = 0, window = 0 } = options;
  const changes: readonly (readonly [flags: string, change: GivenOptions])[] = [
    [`--checkpoint-layers ${layers}`, {}],
    ...[2, 4, 8].map((n): [string, GivenOptions] => {
      const less = { chunk: Math.max(2, Math.floor(chunk / n)), window: Math.floor(window / n) };
      const flags = `--checkpoint-layers ${layers} --chunk ${less.chunk} --window ${less.window}`;
      return [flags, { ...less, trainWindow: less.window }];
    }),
  ];
  const other = info.kind === "cpu" ? "--device webgpu on a GPU with more memory" : "--device cpu";
  let advice = `a model in a smaller format, or ${other}, would make it fit`;
  for (const [flags, change] of changes) {
    const less = await trial({ ...options, checkpointLayers: layers, ...change });
    if (less.obstacle !== undefined) continue;
    advice = `with ${flags} it is ${bytes(less.total)}`;
    break;
  }
  throw new BadInputError(`this run ${obstacle}; ${advice}`);
}
