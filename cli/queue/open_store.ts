/** Makes and opens stores, and tries again what fails in one for a moment. */
import { randomUUID } from "node:crypto";
import { setTimeout } from "node:timers/promises";
import { BadInputError } from "../../engine/errors.ts";
import { fileError } from "../../model/file.ts";
import { writeError } from "../errors.ts";
import { MARKER, type OpenStore, type Store } from "./store.ts";

/** `DIR` or `s3://BUCKET/PREFIX`: makes the store, unless it is there. One that cannot be written is found before any work. */
export async function makeStore(name: string): Promise<OpenStore> {
  const store = await storeAt(name);
  const id = randomUUID().slice(0, 8);
  await inWords(name, writeError, () => store.putNew(MARKER, Buffer.from(`1\n${id}\n`)));
  return openStore(name);
}

/** A store that is there: nothing is made in another place. */
export async function openStore(name: string): Promise<OpenStore> {
  const store = await storeAt(name);
  const id = await inWords(name, fileError, () => idOf(store));
  if (id === null)
    throw new BadInputError(`--store ${name}: no store there; templora submit or worker --shard makes one`);
  return { ...store, id };
}

/** A store that was there before: where it is not now, it may be so for a moment only. */
export function reopenStore(name: string, id: string): Promise<OpenStore> {
  return patiently(async () => {
    const store = await storeAt(name);
    const now = await idOf(store);
    if (now === null) throw new Error(`${name}: the store is not there now`);
    if (now !== id) throw new Error(`${name}: another store is there now`);
    return { ...store, id };
  });
}

async function idOf(store: Store): Promise<string | null> {
  const marker = await store.get(MARKER);
  if (!marker) return null;
  const [, id = ""] = Buffer.from(marker).toString().split("\n");
  return id;
}

async function storeAt(name: string): Promise<Store> {
  return retrying(
    isBucket(name)
      ? await (await import("./s3_store.ts")).openBucket(name)
      : new (await import("./folder_store.ts")).FolderStore(name),
  );
}

const isBucket = (name: string): boolean => name.startsWith("s3://");

/** The first calls of a store, with the place and the system's words in their errors. */
async function inWords<T>(
  name: string,
  ofSystem: (name: string, error: unknown) => Error,
  call: () => Promise<T>,
): Promise<T> {
  try {
    return await call();
  } catch (error) {
    if (error instanceof BadInputError) throw error;
    throw isBucket(name) ? new Error(`${name}: ${(error as Error).message}`) : ofSystem(name, error);
  }
}

/** Pauses before a call is made again, ms; about 12 s in all. */
const PAUSES: readonly number[] = [50, 100, 200, 400, 800, 1600, 3200, 6400];
/** What no second call mends. */
const lasting = ["EACCES", "EPERM", "EROFS", "ENOTDIR", "ENOSPC", "EISDIR", "ENOENT"];

/** A call that is made again where it fails, unless that would not help. */
async function patiently<T>(call: () => Promise<T>, pauses = PAUSES, signal?: AbortSignal): Promise<T> {
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
}

/** The store, each call of which is made so. */
export function retrying(store: Store, pauses: readonly number[] = PAUSES): Store {
  const again = <T>(call: () => Promise<T>, signal?: AbortSignal): Promise<T> =>
    patiently(call, pauses, signal);
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
