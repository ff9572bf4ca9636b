/** Opens a model and loads it onto a device, in one call. */
import type { Device } from "../engine/device.ts";
import { servingPositions } from "./config.ts";
import { type Extension, extended } from "./extend.ts";
import { Llama } from "./llama.ts";
import { type Attention, withAttention } from "./reach.ts";
import type { OnProgress } from "./weights.ts";

export interface LoadOptions {
  /** Called with the bytes that are loaded and the bytes in all. */
  readonly onProgress?: OnProgress | undefined;
  /** More positions than the model was made for, by another RoPE. */
  readonly extend?: Extension | undefined;
  /** Other attention than the model's own. */
  readonly attention?: Attention | undefined;
  /**
   * The most positions that a text's window and chunk will take together: beyond those that LongRoPE's models (Phi) were first trained
   * on, their keys are turned in another way, those of short texts too; `extend` by "dynamic-ntk" goes by them.
   */
  readonly positions?: number;
}

/** A model from a Hugging Face folder, a .gguf file, or by the name of a fetched one. The caller disposes of it. */
export async function loadModel(
  device: Device,
  pathOrName: string,
  { onProgress, extend, attention, positions }: LoadOptions = {},
): Promise<Llama> {
  const { configured, openModelFiles } = await files();
  await using modelFiles = await openModelFiles(pathOrName);
  let { config } = modelFiles;
  if (extend) config = extended(config, extend);
  if (attention) config = withAttention(config, attention);
  if (positions !== undefined) config = servingPositions(config, positions);
  return await Llama.load(device, configured(modelFiles, config), onProgress);
}

/** Imported when it is needed: it asks Node for files. (In a function with `using`, tsc leaves the path's ending as it is.) */
const files = () => import("./model_files.ts");
