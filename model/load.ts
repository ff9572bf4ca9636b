/** Opens a model and loads it onto a device, in one call. */
import type { Device } from "../engine/device.ts";
import { Llama } from "./llama.ts";
import type { OnProgress } from "./weights.ts";

export interface LoadOptions {
  /** Called with the bytes that are loaded and the bytes in all. */
  readonly onProgress?: OnProgress | undefined;
  /**
   * The most positions that a text's window and chunk will take together, if these are more than LongRoPE's models (Phi) were first
   * trained on: their keys are then turned in another way, those of short texts too.
   */
  readonly positions?: number;
}

/** A model from a Hugging Face folder, a .gguf file, or by the name of a fetched one. The caller disposes of it. */
export async function loadModel(
  device: Device,
  pathOrName: string,
  { onProgress, positions = 0 }: LoadOptions = {},
): Promise<Llama> {
  const { openModelFiles, servingPositions } = await files();
  await using modelFiles = await openModelFiles(pathOrName);
  return await Llama.load(device, servingPositions(modelFiles, positions), onProgress);
}

/** Imported when it is needed: it asks Node for files. (In a function with `using`, tsc leaves the path's ending as it is.) */
const files = () => import("./model_files.ts");
