/** Says before a model is loaded that a run would not fit the memory, and what would make it fit. */
import { CPU_MEMORY } from "../engine/backends/cpu/build.ts";
import type { Device } from "../engine/device.ts";
import { BadInputError } from "../engine/errors.ts";
import type { ModelFiles } from "../model/model_files.ts";
import { type Needs, type RunLength, atMost, needsOf } from "../templora/needs.ts";
import type { GivenOptions } from "../templora/session_options.ts";
import { bytes } from "./format.ts";

/** What a device's memory may be at most, and why; null where nobody can know: a GPU's driver does not tell. */
function memoryOf({ info }: Device): { readonly most: number; readonly why: string } | null {
  if (info.kind !== "cpu") return null;
  const free = process.availableMemory();
  return free < CPU_MEMORY
    ? { most: free, why: "of this machine's memory" }
    : { most: CPU_MEMORY, why: "that WebAssembly can address" };
}

/** Throws where the run needs more than there is (`memory`). */
export async function assertFits(
  device: Device,
  modelFiles: ModelFiles,
  options: GivenOptions,
  length: RunLength,
  memory = memoryOf(device),
): Promise<void> {
  if (!memory || atMost(modelFiles, options, length) <= memory.most) return;
  const needed = (given: GivenOptions): Promise<Needs> => needsOf(device, modelFiles, given, length);
  const { weights, rest } = await needed(options);
  if (weights + rest <= memory.most) return;
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
  let advice = "a model in a smaller format, or --device webgpu on a GPU with more memory, would make it fit";
  for (const [flags, change] of weights < memory.most ? changes : []) {
    const less = await needed({ ...options, checkpointLayers: layers, ...change });
    if (less.weights + less.rest > memory.most) continue;
    advice = `with ${flags} it is ${bytes(less.weights + less.rest)}`;
    break;
  }
  throw new BadInputError(
    `this run needs ${bytes(weights + rest)} on the cpu device (weights ${bytes(weights)}; adapter, cache and activations ` +
      `${bytes(rest)}), more than the ${bytes(memory.most)} ${memory.why}; ${advice}`,
  );
}
