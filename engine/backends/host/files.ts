/**
 * Files: the only module below the command line that uses Node's file system. Imported when it is needed, never at the top of a
 * module that a browser loads.
 */
import type { Hash } from "node:crypto";
import {
  type Stats,
  closeSync,
  constants,
  fchmodSync,
  fchownSync,
  fstatSync,
  fsync,
  fsyncSync,
  ftruncateSync,
  openSync,
  readSync,
  renameSync,
  rmSync,
  statSync,
  writeFile,
  writeFileSync,
} from "node:fs";
import { mkdir, open } from "node:fs/promises";
import { Socket } from "node:net";
import { homedir } from "node:os";
import { basename, dirname, join } from "node:path";
import { setImmediate } from "node:timers/promises";
import { promisify } from "node:util";

export { createHash } from "node:crypto";
export { createContext, runInContext } from "node:vm";
export { existsSync, readFileSync, readdirSync, statSync } from "node:fs";
export { type FileHandle, chmod, open, readFile, stat } from "node:fs/promises";
export { homedir, join };

const HASHED_AT_ONCE = 2 ** 25;
const READ_AT_ONCE = 2 ** 16;

/** Where fetched models, states and measurements are kept. */
export function cacheFolder(env: Readonly<Record<string, string | undefined>> = process.env): string {
  const named = env["TEMPLORA_CACHE"];
  return named !== undefined && named !== "" ? named : join(homedir(), ".cache", "templora");
}

/**
 * Makes a folder, and those that it is in. Node's own `recursive` never ends where the system knows a folder but makes none in it,
 * as in /proc (24.21), and neither a timeout nor Ctrl-C ends it.
 */
export async function makeFolder(path: string, within = true): Promise<void> {
  try {
    await mkdir(path);
  } catch (error) {
    if (statSync(path, { throwIfNoEntry: false })?.isDirectory() === true) return;
    if (!within || (error as NodeJS.ErrnoException).code !== "ENOENT" || dirname(path) === path) throw error;
    await makeFolder(dirname(path));
    await makeFolder(path, false);
  }
}

/**
 * A file's bytes, part by part, each with the file's size: 0 where that cannot be known. Not with one of Node's threads for files where it
 * is a named pipe: a thread that waits for a pipe's writer would keep the process from ending, process.exit included (24.21).
 */
export async function* readParts(path: string): AsyncGenerator<readonly [part: Uint8Array, size: number]> {
  if (statSync(path).isFIFO()) {
    const fd = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
    for await (const part of new Socket({ fd, writable: false })) yield [part as Buffer, 0];
    return;
  }
  const file = await open(path, "r");
  try {
    const { size } = await file.stat();
    for (;;) {
      const { bytesRead, buffer } = await file.read(new Uint8Array(READ_AT_ONCE), 0, READ_AT_ONCE, null);
      if (bytesRead === 0) return;
      yield [buffer.subarray(0, bytesRead), size];
    }
  } finally {
    await file.close();
  }
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

/** Adds `bytes` to a hash, piece by piece, so that the event loop has its turn in between. */
export async function addTo(hash: Hash, bytes: Uint8Array): Promise<void> {
  for (let at = 0; at < bytes.length; at += HASHED_AT_ONCE) {
    hash.update(bytes.subarray(at, at + HASHED_AT_ONCE));
    await setImmediate();
  }
}

/** A file that is to take the place of another, or of none. Until it is complete it has a name of its own, beside it. */
export interface Part {
  readonly file: number;
  readonly path: string;
  /** Whether a rename keeps all that the old file is: its owner and mode, and its other names (hard links). */
  readonly renames: boolean;
}

/**
 * Makes it, empty, with the mode and owner of the file that it is to replace: FILE.part, or FILE.2.part and so on where such a
 * file is there. Throws when the old file or its folder cannot be written.
 */
export function openPart(path: string): Part {
  const old = statSync(path, { throwIfNoEntry: false });
  if (old) closeSync(openSync(path, "r+")); // a rename would replace a file that is write-protected
  for (let n = 1; ; n++) {
    const name = `${path}${n === 1 ? "" : `.${n}`}.part`;
    try {
      const file = openSync(name, "wx", old ? 0o600 : 0o666);
      return { file, path: name, renames: !old || takesAfter(file, old) };
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "EEXIST") throw error;
    }
  }
}

/** Gives `file` the owner and mode of `old` as far as may be; whether it can then replace it by a rename. */
function takesAfter(file: number, { uid, gid, mode, nlink }: Stats): boolean {
  for (const take of [() => fchownSync(file, uid, gid), () => fchmodSync(file, mode)]) {
    try {
      take();
    } catch {
      // Only root may give files away, and not every file system has modes.
    }
  }
  const now = fstatSync(file);
  return nlink === 1 && now.uid === uid && now.gid === gid && now.mode === mode;
}

/** Gives a complete part, on the disk, its name. Where a rename will not do (a mounted file, say), the old file is overwritten. */
export function putInPlace({ path: part, renames }: Part, path: string): void {
  if (renames) {
    try {
      renameSync(part, path);
      syncFolder(dirname(path));
      return;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "EBUSY") throw error;
    }
  }
  overwrite(path, part);
  rmSync(part);
}

/** Copies the content of the file `from` into the old file `path`. */
function overwrite(path: string, from: string): void {
  const [to, source] = [openSync(path, "r+"), openSync(from, "r")];
  try {
    ftruncateSync(to);
    const block = Buffer.alloc(2 ** 20);
    for (let n = 1; n > 0;) writeFileSync(to, block.subarray(0, (n = readSync(source, block))));
    fsyncSync(to);
  } finally {
    closeSync(to);
    closeSync(source);
  }
}

/** A file that is being written. */
export interface Filling {
  /** Appends all of `data`; await it before the next. */
  write(data: string | Uint8Array): Promise<void>;
}

/** What a file is to hold: data, or what this writes. */
export type Contents = string | Uint8Array | ((file: Filling) => Promise<void>);

/**
 * Makes or replaces the file `path`, whole or not at all: the contents go into a part beside it, which takes the name once it is
 * complete and on the disk. When anything fails before, the old file is there as it was.
 */
export async function writeWhole(path: string, contents: Contents): Promise<void> {
  await writeTogether(dirname(path), { [basename(path)]: contents });
}

/** The same with several files of one folder, by name: none takes its name before all are complete. */
export async function writeTogether(
  folder: string,
  files: Readonly<Record<string, Contents>>,
): Promise<void> {
  await makeFolder(folder);
  const parts: (readonly [part: Part, path: string])[] = [];
  try {
    for (const [name, contents] of Object.entries(files)) {
      const path = join(folder, name);
      const part = openPart(path);
      parts.push([part, path]);
      try {
        // writeFile goes on where the last one ended, until everything is written; write may stop short.
        const filling: Filling = { write: (data) => promisify(writeFile)(part.file, data) };
        await (typeof contents === "function" ? contents(filling) : filling.write(contents));
        await promisify(fsync)(part.file);
      } finally {
        closeSync(part.file);
      }
    }
    for (const [part, path] of parts) putInPlace(part, path);
  } catch (error) {
    for (const [part] of parts) rmSync(part.path, { force: true });
    throw error;
  }
}

/** Puts the new name on the disk, too; Windows has no such call, and some file systems refuse it. */
function syncFolder(folder: string): void {
  let file: number | undefined;
  try {
    file = openSync(folder, "r");
    fsyncSync(file);
  } catch {
    // The file is whole either way.
  } finally {
    if (file !== undefined) closeSync(file);
  }
}
