/**
 * Where texts, checkpoints and results are, for any number of machines: a shared folder or an S3-compatible bucket. All that is asked
 * of it is below; what makes results exactly once is `putNew`.
 */
export interface Store {
  /** As the user named it. */
  readonly name: string;
  /** Null where there is no such key. */
  get(key: string): Promise<Uint8Array | null>;
  /** Makes an object, unless there is one under this key; whether it did. Of any number of callers at once, one does. */
  putNew(key: string, data: Uint8Array): Promise<boolean>;
  /** Makes an object of a file, or replaces one: whole or not at all. Rejects once `signal` calls it off. */
  upload(key: string, path: string, signal?: AbortSignal): Promise<void>;
  /** Writes an object into a file; false where there is none. */
  download(key: string, path: string): Promise<boolean>;
  /** The keys that begin so, sorted; `prefix` ends with a slash. */
  list(prefix: string): Promise<string[]>;
  /** There may be none. */
  remove(key: string): Promise<void>;
}

/** What a store is known by: its format, and on a second line its id. */
export const MARKER = "templora-store";

/** A store that was found, or made. */
export interface OpenStore extends Store {
  /** Random, and made with the store: tasks are of one store. Empty where the store was made before there were ids. */
  readonly id: string;
}
