/** A store in a folder that all machines see, such as one on NFS. Files appear whole: by rename, or by link where they must be new. */
import { randomUUID } from "node:crypto";
import { copyFile, link, open, readFile, readdir, rename, rm, stat } from "node:fs/promises";
import { dirname, join } from "node:path";
import { makeFolder } from "../../engine/backends/host/files.ts";
import type { Store } from "./store.ts";

export class FolderStore implements Store {
  readonly name: string;

  constructor(name: string) {
    this.name = name;
  }

  async get(key: string): Promise<Uint8Array | null> {
    return readFile(this.#path(key)).catch(noFile);
  }

  async putNew(key: string, data: Uint8Array): Promise<boolean> {
    const path = this.#path(key);
    return this.#beside(path, async (part) => {
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
    await this.#beside(path, async (part) => {
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
      (error: unknown) => noFile(error) !== null,
    );
  }

  async list(prefix: string): Promise<string[]> {
    const names = (await readdir(this.#path(prefix)).catch(noFile)) ?? [];
    return names.filter((name) => !name.startsWith(".")).map((name) => `${prefix}${name}`).sort(); // prettier-ignore
  }

  async remove(key: string): Promise<void> {
    await rm(this.#path(key), { force: true });
  }

  #path(key: string): string {
    return join(this.name, key);
  }

  /** Works on a file beside `path` that has no other user and is gone in the end. */
  async #beside<T>(path: string, work: (part: string) => Promise<T>): Promise<T> {
    const part = join(dirname(path), `.${randomUUID()}.part`);
    await makeFolder(dirname(path));
    try {
      return await work(part);
    } finally {
      await rm(part, { force: true });
    }
  }
}

function noFile(error: unknown): null {
  if ((error as NodeJS.ErrnoException).code === "ENOENT") return null;
  throw error;
}
