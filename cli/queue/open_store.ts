/** Opens a store, and tries again what fails in it for a moment. */
import { setTimeout } from "node:timers/promises";
import { BadInputError } from "../../engine/errors.ts";
import { writeError } from "../errors.ts";
import type { Store } from "./store.ts";

/** `DIR` or `s3://BUCKET/PREFIX`; what is asked of it is tried again where it fails for a moment. */
export async function openStore(name: string): Promise<Store> {
  const isBucket = name.startsWith("s3://");
  const store = isBucket
    ? await (await import("./s3_store.ts")).openBucket(name)
    : new (await import("./folder_store.ts")).FolderStore(name);
  const patient = retrying(store);
  try {
    await patient.putNew("templora-store", Buffer.from("1\n")); // a store that cannot be written is found before any work
  } catch (error) {
    if (error instanceof BadInputError) throw error;
    throw isBucket ? new Error(`${name}: ${(error as Error).message}`) : writeError(name, error);
  }
  return patient;
}

/** Pauses before a call is made again, ms; about 12 s in all. */
const PAUSES = [50, 100, 200, 400, 800, 1600, 3200, 6400];
/** What no second call mends. */
const lasting = ["EACCES", "EPERM", "EROFS", "ENOTDIR", "ENOSPC", "EISDIR", "ENOENT"];

/** The store, each call of which is made again where it fails, unless that would not help. */
export function retrying(store: Store, pauses: readonly number[] = PAUSES): Store {
  const again = async <T>(call: () => Promise<T>, signal?: AbortSignal): Promise<T> => {
    for (const pause of pauses) {
      try {
        return await call();
      } catch (error) {
        const { code = "" } = error as NodeJS.ErrnoException;
        if (error instanceof BadInputError || lasting.includes(code) || signal?.aborted) throw error;
        await setTimeout(pause * (0.5 + Math.random()), undefined, signal && { signal });
      }
    }
    return call();
  };
  return {
    name: store.name,
    get: (key) => again(() => store.get(key)),
    putNew: (key, data) => again(() => store.putNew(key, data)),
    upload: (key, path, signal) => again(() => store.upload(key, path, signal), signal),
    download: (key, path) => again(() => store.download(key, path)),
    list: (prefix) => again(() => store.list(prefix)),
    remove: (key) => again(() => store.remove(key)),
  };
}
