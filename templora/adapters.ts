/** Adapters in peft's format (docs/adapters.md): loaded for a session to begin with, saved from one. */
import { BadInputError } from "../engine/errors.ts";
import type { Family } from "../model/family.ts";
import type { Llama } from "../model/llama.ts";
import type { Session } from "./session.ts";
import type { StoredAdapter } from "./stored_adapter.ts";

/** Reads a folder of peft's; the option `adapter` of `readText`, `generate` and `Session` begins with it. */
export async function loadAdapter(model: Llama, path: string): Promise<StoredAdapter> {
  assertOwnModules(model.family);
  const { readAdapter } = await file();
  return readAdapter(path, model.weights.layers);
}

export interface SaveAdapterOptions {
  /** The model's name on the hub, or its folder, for programs that then load it as well. */
  readonly baseModel?: string | undefined;
}

/**
 * Keeps a session's adapter, as it is now, in a folder that `loadAdapter` and peft read: a new folder, or that of an older adapter,
 * which stays as it was until the new one is complete.
 */
export async function saveAdapter(
  session: Session,
  path: string,
  options: SaveAdapterOptions = {},
): Promise<void> {
  assertOwnModules(session.model.family);
  const { assertAdapterPlace, writeAdapter } = await file();
  await assertAdapterPlace(path);
  const { dropout } = session.options.recipe;
  const blocks = session.model.weights.layers;
  await writeAdapter(path, await session.storedAdapter(), blocks, { dropout, ...options });
}

/** Throws for a family in which peft sees one module where templora adapts several layers: no file says the same to both. */
export function assertOwnModules({ model_type, fused = [] }: Family): void {
  const [whole] = fused;
  if (whole)
    throw new BadInputError(
      `${model_type} keeps ${whole.layers.join(", ")} in one module, ${whole.names[0]}; templora adapts each on its own, which peft's format cannot say of that module`,
    );
}

/** Imported when it is needed: it asks Node for files. */
const file = () => import("./adapter_file.ts");
