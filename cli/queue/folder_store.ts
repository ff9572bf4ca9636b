/**
 * A store in a folder that all machines see, such as one on NFS. Files appear whole: by rename, or by link where they must be new.
 * Where it is not mounted there is another folder, or none: what is not found there is not missing, and nothing is made there.
 */
import { randomUUID } from "node:crypto";
import { access, copyFile, link, open, readFile, readdir, rename, rm, stat } from "node:fs/promises";
import { dirname, join } from "node:path";
import { makeFolder } from "../../engine/backends/host/files.ts";
import { MARKER, type Store } from "./store.ts";

export class FolderStore implements Store {
  readonly name: string;

  constructor(name: string) {
    this.name = name;
  }

  async get(key: string): Promise<Uint8Array | null> {
    return readFile(this.#path(key)).catch((error: unknown) => this.#none(key, error));
  }

  async putNew(key: string, data: Uint8Array): Promise<boolean> {
    const path = this.#path(key);
    return this.#beside(key, async (part) => {
      const file = await open(part, "wx");
      try {
        await file.writeFile(data);
        await file.sync();
      } finally {
        await file.close();
      }
      try {
        await link(part, path); // fails where `path` is, on NFS as well
        return true;
      } catch (error) {
        // NFS: the reply of a call that did link may be lost, and the call repeated
        if ((await stat(part)).nlink > 1) return true;
        if ((error as NodeJS.ErrnoException).code === "EEXIST") return false;
        throw error;
      }
    });
  }

  async upload(key: string, source: string, signal?: AbortSignal): Promise<void> {
    const path = this.#path(key);
    await this.#beside(key, async (part) => {
      await copyFile(source, part);
      const file = await open(part, "r+");
      await file.sync().finally(() => file.close());
      signal?.throwIfAborted();
      await rename(part, path);
    });
  }

  async download(key: string, path: string): Promise<boolean> {
    return copyFile(this.#path(key), path).then(
      () => true,
      async (error: unknown) => (await this.#none(key, error)) !== null,
    );
  }

  async list(prefix: string): Promise<string[]> {
    const found = await readdir(this.#path(prefix)).catch((error: unknown) => this.#none(prefix, error));
    const names = found ?? [];
    return names.filter((name) => !name.startsWith(".")).map((name) => `${prefix}${name}`).sort(); // prettier-ignore
  }

  async remove(key: string): Promise<void> {
    await rm(this.#path(key), { force: true });
  }

  #path(key: string): string {
    return join(this.name, key);
  }

  /** Null for what is not in the store; throws `error` where that was another. */
  async #none(key: string, error: unknown): Promise<null> {
    if ((error as NodeJS.ErrnoException).code !== "ENOENT") throw error;
    await this.#assertThere(key);
    return null;
  }

  /** Throws where the folder is not the store now, which may be so for a moment only. `key`: for what; the marker makes a store. */
  async #assertThere(key: string): Promise<void> {
    if (key === MARKER) return;
    await access(this.#path(MARKER)).catch(() => {
      throw new Error(`${this.name}: the store is not there now`);
    });
  }

  /** Works on a file beside that of `key` which has no other user and is gone in the end. */
  async #beside<T>(key: string, work: (part: string) => Promise<T>): Promise<T> {
    const folder = dirname(this.#path(key));
    const part = join(folder, `.${randomUUID()}.part`);
    await this.#assertThere(key);
    await makeFolder(folder);
    try {
      return await work(part);
    } finally {
      await rm(part, { force: true });
    }
  }
}
