/**
 * Files: the only module below the command line that uses Node's file system. Imported when it is needed, never at the top of a
 * module that a browser loads.
 */
import { type FileHandle, mkdir, open, rename, rm } from "node:fs/promises";
import { homedir } from "node:os";
import { dirname, join } from "node:path";

export { existsSync, readFileSync, readdirSync, statSync } from "node:fs";
export { type FileHandle, open, readFile, stat } from "node:fs/promises";
export { homedir, join };

/** Where fetched models, states and measurements are kept. */
export function cacheFolder(env: Readonly<Record<string, string | undefined>> = process.env): string {
  const named = env["TEMPLORA_CACHE"];
  return named !== undefined && named !== "" ? named : join(homedir(), ".cache", "templora");
}

/** The whole file, of any length: Node's readFile fails above 2 GiB. */
export async function readWhole(path: string): Promise<Buffer> {
  const file = await open(path, "r");
  try {
    const bytes = Buffer.allocUnsafe((await file.stat()).size);
    let done = 0;
    while (done < bytes.length) {
      const { bytesRead } = await file.read(bytes, done, Math.min(2 ** 30, bytes.length - done), done);
      if (bytesRead === 0) throw new Error(`${path}: it became shorter while it was read`);
      done += bytesRead;
    }
    return bytes;
  } finally {
    await file.close();
  }
}

/** A file that is being written. */
export interface Filling {
  /** Appends all of `data`; await it before the next. */
  write(data: string | Uint8Array): Promise<void>;
}

/**
 * Makes or replaces the file `path`, whole or not at all: `data`, or what `fill` writes, goes into a temporary file beside
 * it, which takes the name once it is complete and on the disk. When anything fails, the old file is there as it was.
 */
export async function writeWhole(
  path: string,
  data: string | Uint8Array | ((file: Filling) => Promise<void>),
): Promise<void> {
  const folder = dirname(path);
  await mkdir(folder, { recursive: true });
  const temporary = `${path}.${crypto.randomUUID().slice(0, 8)}.part`;
  const file = await open(temporary, "wx");
  try {
    try {
      // writeFile goes on where the last one ended, until everything is written; write may stop short.
      const filling: Filling = { write: (part) => file.writeFile(part) };
      if (typeof data === "function") await data(filling);
      else await filling.write(data);
      await file.sync();
    } finally {
      await file.close();
    }
    await rename(temporary, path);
  } catch (error) {
    await rm(temporary, { force: true });
    throw error;
  }
  await syncFolder(folder);
}

/** Puts the new name on the disk, too; Windows has no such call, and some file systems refuse it. */
async function syncFolder(folder: string): Promise<void> {
  let handle: FileHandle | undefined;
  try {
    handle = await open(folder, "r");
    await handle.sync();
  } catch {
    // The file is whole either way.
  } finally {
    await handle?.close();
  }
}
