/** Says before a model is loaded that a run would not fit the memory, and what would make it fit. */
import { CPU_MEMORY } from "../engine/backends/cpu/build.ts";
import type { DeviceLike } from "../engine/backends/counting.ts";
import { BadInputError, DeviceError } from "../engine/errors.ts";
import type { ModelFiles } from "../model/model_files.ts";
import { type Needs, type RunLength, atMost, needsOf, translationNeeds } from "../templora/needs.ts";
import type { Material } from "../templora/material.ts";
import type { GivenOptions } from "../templora/session_options.ts";
import type { TranslateOptions } from "../templora/translate.ts";
import { bytes } from "./format.ts";

interface Memory {
  readonly most: number;
  readonly why: string;
}

/** What the memory of all devices may be at most, and why; without end for a GPU, whose driver does not tell. */
function memoryOf({ info }: DeviceLike): Memory {
  const free = info.kind === "cpu" || info.software ? process.availableMemory() : Infinity;
  return { most: free, why: "of this machine's memory" };
}

/** The same of one device. */
function memoryOfOne({ info }: Pick<DeviceLike, "info">): Memory {
  return { most: info.kind === "cpu" ? CPU_MEMORY : Infinity, why: "that WebAssembly can address" };
}

/** Throws where the run needs more than there is (`memory`), or something larger than the device takes. */
export async function assertFits(
  device: DeviceLike,
  modelFiles: ModelFiles,
  options: GivenOptions,
  length: RunLength,
  memory = memoryOf(device),
): Promise<void> {
  const { total, largest } = atMost(modelFiles, options, length);
  const limit = Math.min(...Object.values<number>({ ...device.limits }));
  const devices = options.schedule === "parallel" ? 2 : 1; // the learner's has a copy of the model
  if (devices * total <= memory.most && total <= memoryOfOne(device).most && largest <= limit) return;
  const needed = (given: GivenOptions): Promise<Needs> => needsOf(device, modelFiles, given, length);
  const { num_hidden_layers: layers } = modelFiles.config;
  const { chunk = 0, window = 0 } = options;
  const lower = { ...options, checkpointLayers: layers };
  await assertEnough(device, memory, () => needed(options), [
    [`--checkpoint-layers ${layers}`, () => needed(lower)],
    ...[2, 4, 8].map((n): Change => {
      const less = { chunk: Math.max(2, Math.floor(chunk / n)), window: Math.floor(window / n) };
      const flags = `--checkpoint-layers ${layers} --chunk ${less.chunk} --window ${less.window}`;
      return [flags, () => needed({ ...lower, ...less, trainWindow: less.window })];
    }),
  ]);
}

/** The same of a translation. `less`: flags, and the material with them. */
export async function assertTranslationFits(
  device: DeviceLike,
  modelFiles: ModelFiles,
  material: Material<unknown>,
  options: TranslateOptions,
  [flags, smaller]: readonly [flags: string, material: () => Material<unknown>],
  memory = memoryOf(device),
): Promise<void> {
  const needed = (of: Material<unknown>, checkpointLayers: number): Promise<Needs> =>
    translationNeeds(device, modelFiles, of, { ...options, checkpointLayers });
  const { num_hidden_layers: layers } = modelFiles.config;
  await assertEnough(device, memory, () => needed(material, options.checkpointLayers), [
    [`--checkpoint-layers ${layers}`, () => needed(material, layers)],
    [`--checkpoint-layers ${layers} ${flags}`, () => needed(smaller(), layers)],
  ]);
}

/** Flags, and what a run needs with them. */
type Change = readonly [flags: string, needs: () => Promise<Needs>];

/** Throws where there is not enough; says which of the changes would make it fit. */
async function assertEnough(
  { info }: DeviceLike,
  all: Memory,
  needs: () => Promise<Needs>,
  changes: readonly Change[],
): Promise<void> {
  /** What a run takes, in bytes, and what stands in its way. */
  const trial = async (counted: () => Promise<Needs>): Promise<{ total: number; obstacle?: string }> => {
    try {
      const { most, weights, rest } = await counted();
      const total = weights + rest;
      const one = memoryOfOne({ info });
      const exceeded = most > one.most ? one : total > all.most ? all : null;
      if (!exceeded) return { total };
      const parts = `weights ${bytes(weights)}; adapter, cache and activations ${bytes(rest)}`;
      const need = `needs ${bytes(total)} on the ${info.kind} device (${parts})`;
      return { total, obstacle: `${need}, more than the ${bytes(exceeded.most)} ${exceeded.why}` };
    } catch (error) {
      if (!(error instanceof DeviceError)) throw error;
      return { total: Infinity, obstacle: `does not fit the ${info.kind} device: ${error.message}` };
    }
  };
  const { obstacle } = await trial(needs);
  if (obstacle === undefined) return;
  const other = info.kind === "cpu" ? "--device webgpu on a GPU with more memory" : "--device cpu";
  let advice = `a model in a smaller format, or ${other}, would make it fit`;
  for (const [flags, changed] of changes) {
    const less = await trial(changed);
    if (less.obstacle !== undefined) continue;
    advice = `with ${flags} it is ${bytes(less.total)}`;
    break;
  }
  throw new BadInputError(`this run ${obstacle}; ${advice}`);
}
