/** Opens a model and loads it onto a device, in one call. */
import type { Device } from "../engine/device.ts";
import { Llama } from "./llama.ts";
import type { OnProgress } from "./weights.ts";

export interface LoadOptions {
  /** Called with the bytes that are loaded and the bytes in all. */
  readonly onProgress?: OnProgress | undefined;
}

/** A model from a Hugging Face folder, a .gguf file, or by the name of a fetched one. The caller disposes of it. */
export async function loadModel(
  device: Device,
  pathOrName: string,
  { onProgress }: LoadOptions = {},
): Promise<Llama> {
  const { openModelFiles } = await files();
  await using modelFiles = await openModelFiles(pathOrName);
  return await Llama.load(device, modelFiles, onProgress);
}

/** Imported when it is needed: it asks Node for files. (In a function with `using`, tsc leaves the path's ending as it is.) */
const files = () => import("./model_files.ts");
