/**
 * Node's functions for files as the fuzzed code gets them: a path outside of the folder at hand is noted and refused, whether by its name
 * or by where its links lead; so is every attempt to start a program.
 */
import * as fs from "node:fs";
import { basename, dirname, join, resolve, sep } from "node:path";

/** What was tried and is forbidden, since it was last emptied. */
export const trespasses: string[] = [];
let root = "";

/** From now on, what is in `folder` may be opened, and nothing else. */
export function allowOnly(folder: string): void {
  root = fs.realpathSync(folder);
}

/** Where a path leads, with links followed, those to nothing too. */
function end(place: string): string {
  try {
    return fs.realpathSync.native(place);
  } catch {
    // not there yet
  }
  const folder = dirname(place);
  if (folder === place) return place;
  const link = fs.lstatSync(place, { throwIfNoEntry: false })?.isSymbolicLink() === true;
  return link ? end(resolve(folder, fs.readlinkSync(place))) : join(end(folder), basename(place));
}

function assertInside(name: string, path: string): void {
  const inside = (place: string): boolean => place === root || place.startsWith(root + sep);
  const place = resolve(path);
  if (inside(place) && inside(end(place))) return;
  trespasses.push(`${name} of a path outside of the folder: ${JSON.stringify(path)}`);
  throw Object.assign(new Error(`EPERM: ${name}`), { code: "EPERM", syscall: name });
}

export function executed(file: unknown): never {
  trespasses.push(`a program is started: ${String(file)}`);
  throw Object.assign(new Error("EPERM"), { code: "EPERM", syscall: "spawn" });
}

type Fn = (...args: unknown[]) => unknown;

/** Where a function's second argument is a path, too. */
const TWO_PATHS = /^(rename|link|cp|copyFile)/;

/** A function of node:fs that looks at the paths that it is given. Other exports are as they were. */
export function watched(name: string, real: unknown): unknown {
  if (typeof real !== "function" || !/^[a-z]/.test(name)) return real;
  return (...args: unknown[]): unknown => {
    const [first, second] = args.map((arg) =>
      arg instanceof URL || Buffer.isBuffer(arg) ? String(arg) : arg,
    );
    if (name.startsWith("symlink")) assertInside(name, resolve(dirname(String(second)), String(first)));
    else if (typeof first === "string") assertInside(name, first);
    if ((TWO_PATHS.test(name) || name.startsWith("symlink")) && typeof second === "string")
      assertInside(name, second);
    return (real as Fn)(...args);
  };
}

/** A function of node:fs/promises, by its synchronous twin. */
export function atOnce(name: string, real: unknown): unknown {
  const twin = (fs as unknown as Record<string, unknown>)[`${name}Sync`];
  if (typeof twin !== "function") return real;
  const call = watched(name, twin) as Fn;
  return name === "open"
    ? async (...args: unknown[]) => handle(call(...args) as number)
    : async (...args: unknown[]) => call(...args);
}

/** What a FileHandle does, as far as ours need it. */
function handle(fd: number): object {
  return {
    fd,
    stat: async () => fs.fstatSync(fd),
    read: async (buffer: Uint8Array, offset: number, length: number, position: number | null) => ({
      bytesRead: fs.readSync(fd, buffer, offset, length, position),
      buffer,
    }),
    write: async (buffer: Uint8Array, offset: number, length: number, position: number) => ({
      bytesWritten: fs.writeSync(fd, buffer, offset, length, position),
      buffer,
    }),
    truncate: async (length?: number) => fs.ftruncateSync(fd, length),
    sync: async () => fs.fsyncSync(fd),
    close: async () => fs.closeSync(fd),
  };
}
