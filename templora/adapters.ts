/** Adapters in peft's format (docs/adapters.md): loaded for a session to begin with, saved from one. */
import type { Llama } from "../model/llama.ts";
import { modulesOf } from "./modules.ts";
import type { Session } from "./session.ts";
import type { StoredAdapter } from "./stored_adapter.ts";

/** Reads a folder of peft's; the option `adapter` of `readText`, `generate` and `Session` begins with it. */
export async function loadAdapter(model: Llama, path: string): Promise<StoredAdapter> {
  const { readAdapter } = await file();
  return readAdapter(path, modulesOf(model));
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
  const { assertAdapterPlace, writeAdapter } = await file();
  await assertAdapterPlace(path);
  const { dropout } = session.options.recipe;
  const modules = modulesOf(session.model);
  await writeAdapter(path, await session.storedAdapter(), modules, { dropout, ...options });
}

/** Imported when it is needed: it asks Node for files. */
const file = () => import("./adapter_file.ts");
