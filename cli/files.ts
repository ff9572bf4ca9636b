/**
 * The files that a command writes. They are opened before any work, so that a path that cannot be written is reported
 * at once, and they change only on success: a run that fails leaves the user's files as they were.
 */
import {
  accessSync,
  closeSync,
  constants,
  fsyncSync,
  ftruncateSync,
  lstatSync,
  openSync,
  readlinkSync,
  realpathSync,
  renameSync,
  rmSync,
  statSync,
  writeSync,
} from "node:fs";
import { dirname, resolve } from "node:path";
import { BadInputError, NonFiniteError } from "../engine/errors.ts";
import { InterruptedError, NotKeptError, writeError } from "./errors.ts";
import type { Io } from "./output.ts";

/** An output that `keeping` commits. Disposing of it before that abandons it. */
export interface OutputFile extends Disposable {
  /** Whether something was written. */
  readonly begun: boolean;
  /** The output is complete: it appears under its name, and survives a crash. */
  commit(): void;
}

/**
 * Runs `work` and commits the outputs when it succeeds. When the user stopped it, or numbers ceased to be finite, outputs that have
 * begun are committed, too: what they hold is sound.
 * After any other error nothing is committed.
 */
export async function keeping(outputs: readonly OutputFile[], work: () => Promise<void>): Promise<void> {
  try {
    await work();
  } catch (error) {
    const stopped = [InterruptedError, NotKeptError, NonFiniteError].some((kind) => error instanceof kind);
    if (stopped) for (const output of outputs) if (output.begun) output.commit();
    throw error;
  }
  for (const output of outputs) output.commit();
}

interface Place {
  /** With symbolic links followed, so that a link stays a link. */
  readonly path: string;
  readonly exists: boolean;
  /** A regular file, or nothing yet. Pipes, devices and names of open descriptors are written through. */
  readonly regular: boolean;
}

/** Names of open descriptors: they may lead to regular files that are not ours to replace, such as a log of stdout. */
const DESCRIPTOR = /^\/(dev\/(stdout|stderr|fd\/)|proc\/)/;

/** Finds out where a path leads, and to what. */
export function locate(path: string): Place {
  const found = statSync(path, { throwIfNoEntry: false });
  if (found) {
    const regular = found.isFile() && !DESCRIPTOR.test(path);
    return { path: regular ? realpathSync(path) : path, exists: true, regular };
  }
  const link = lstatSync(path, { throwIfNoEntry: false })?.isSymbolicLink() === true;
  return link ? locate(resolve(dirname(path), readlinkSync(path))) : { path, exists: false, regular: true };
}

/** Two outputs in one file would destroy each other. `files` are the values of flags; `-` is stdout. */
export function assertDistinct(files: Readonly<Record<string, string | undefined>>): void {
  const taken = new Map<string, string>();
  for (const [flag, path] of Object.entries(files)) {
    if (path === undefined || path === "-") continue;
    const place = refusedInWords(path, () => locate(path));
    if (!place.regular) continue;
    const key = resolve(place.path);
    const other = taken.get(key);
    if (other !== undefined) throw new BadInputError(`${path}: named by both ${other} and ${flag}`);
    taken.set(key, flag);
  }
}

/** A text that grows in FILE.part and appears under its name, whole, when it is committed. */
export class TextFile implements OutputFile {
  /** The path as the user gave it, for errors. */
  readonly #name: string;
  readonly #path: string;
  /** Where the text grows; null when it is written through. */
  readonly #partial: string | null;
  #file: number | null;
  begun = false;

  constructor(name: string) {
    this.#name = name;
    const { path, exists, regular } = refusedInWords(name, () => locate(name));
    this.#path = path;
    this.#partial = regular ? `${path}.part` : null;
    this.#file = refusedInWords(name, () => {
      if (this.#partial === null) return openSync(path, constants.O_WRONLY | constants.O_APPEND);
      if (exists) accessSync(path, constants.W_OK); // a rename would replace a file that is write-protected
      return openSync(this.#partial, "w");
    });
  }

  write(text: string): void {
    if (this.#file === null || text === "") return;
    this.begun = true;
    writeText(this.#file, text, this.#name);
  }

  commit(): void {
    const file = this.#file;
    if (file === null) return;
    refusedInWords(this.#name, () => {
      trySync(file);
      this.#file = null;
      closeSync(file);
      if (this.#partial !== null) renameSync(this.#partial, this.#path);
    });
  }

  /** Removes FILE.part; an old file stays as it was. */
  abandon(): void {
    if (this.#file === null) return;
    closeSync(this.#file);
    this.#file = null;
    if (this.#partial !== null) rmSync(this.#partial, { force: true });
  }

  [Symbol.dispose](): void {
    this.abandon();
  }
}

/** Takes records; `write` returns when the record is written. */
export interface RecordSink extends OutputFile {
  write(record: object): void;
}

/** JSON lines to a file, to stdout (`-`), or nowhere (undefined). JSON has no NaN and no infinity: such a figure is null. */
export function openRecords(target: string | undefined, io: Io): RecordSink {
  if (target !== undefined && target !== "-") return new RecordFile(target);
  return {
    begun: false,
    write: (record) => target === "-" && io.stdout.write(`${JSON.stringify(record)}\n`),
    commit: () => undefined,
    [Symbol.dispose]: () => undefined,
  };
}

/** JSON lines in a file that others may follow while it grows. The first new line replaces the lines of an old file. */
class RecordFile implements RecordSink {
  readonly #name: string;
  readonly #place: Place;
  #file: number | null;
  begun = false;

  constructor(name: string) {
    this.#name = name;
    this.#place = refusedInWords(name, () => locate(name));
    const { path, regular } = this.#place;
    const mode = regular ? constants.O_CREAT : constants.O_APPEND;
    this.#file = refusedInWords(name, () => openSync(path, constants.O_WRONLY | mode));
  }

  write(record: object): void {
    const file = this.#file;
    if (file === null) return;
    if (!this.begun && this.#place.regular) refusedInWords(this.#name, () => ftruncateSync(file));
    this.begun = true;
    writeText(file, `${JSON.stringify(record)}\n`, this.#name); // one write for each line: a reader never sees half a record
  }

  commit(): void {
    const file = this.#file;
    if (file !== null) refusedInWords(this.#name, () => trySync(file));
    this[Symbol.dispose]();
  }

  /** Lines that were written stay; a new file without any is removed. */
  [Symbol.dispose](): void {
    if (this.#file === null) return;
    closeSync(this.#file);
    this.#file = null;
    if (!this.begun && !this.#place.exists) rmSync(this.#place.path, { force: true });
  }
}

/** Runs `act`; what the operating system refuses becomes one clear line about the file `name`. */
function refusedInWords<T>(name: string, act: () => T): T {
  try {
    return act();
  } catch (error) {
    throw writeError(name, error);
  }
}

function writeText(file: number, text: string, name: string): void {
  const bytes = Buffer.from(text);
  refusedInWords(name, () => {
    for (let done = 0; done < bytes.length;) done += writeSync(file, bytes, done);
  });
}

/** Pipes and devices have nothing to sync. */
function trySync(file: number): void {
  try {
    fsyncSync(file);
  } catch (error) {
    if (!(error instanceof Error && "code" in error && (error.code === "EINVAL" || error.code === "ENOTSUP")))
      throw error;
  }
}
