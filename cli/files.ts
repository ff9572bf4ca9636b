/**
 * The files that a command writes. They are opened before any work, so that a path that cannot be written is reported
 * at once, and they change only when there is something to keep: a run that fails leaves the user's files as they were.
 */
import {
  closeSync,
  constants,
  existsSync,
  fstatSync,
  fsyncSync,
  lstatSync,
  openSync,
  readSync,
  readdirSync,
  readlinkSync,
  realpathSync,
  rmSync,
  statSync,
  writeSync,
} from "node:fs";
import { basename, dirname, join, resolve } from "node:path";
import { setTimeout } from "node:timers/promises";
import { BadInputError, NonFiniteError } from "../engine/errors.ts";
import { type Part, openPart, putInPlace } from "../engine/backends/host/files.ts";
import { StoppedError, writeError } from "./errors.ts";
import type { Io, Terminal } from "./output.ts";

/**
 * Runs `work`. The outputs appear under their names when it succeeds. When it was stopped or numbers ceased to be finite, what was
 * written is sound, but not the whole: it appears where no file was there before, or one that it only makes longer, as a run does that
 * is resumed and stopped again. Otherwise it stays in parts, and old files as they were.
 */
export async function keeping(
  outputs: readonly (OutputFile | null)[],
  terminal: Terminal,
  work: () => Promise<void>,
): Promise<void> {
  const errors: unknown[] = [];
  await work().catch((error: unknown) => errors.push(error));
  const [ended] = errors;
  const sound = ended instanceof StoppedError || ended instanceof NonFiniteError;
  for (const output of outputs) {
    try {
      if (errors.length === 0 || (sound && output?.begun && output.losesNothing)) output?.commit();
    } catch (error) {
      errors.unshift(error);
    }
    if (output?.kept !== undefined) terminal.note(`what was written is in ${output.kept}`);
  }
  for (const error of errors) if (error !== errors[0]) terminal.note((error as Error).message);
  if (errors.length > 0) throw errors[0];
}

interface Place {
  /** With symbolic links followed, so that a link stays a link. */
  readonly path: string;
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
    return { path: regular ? realpathSync(path) : path, regular };
  }
  const link = lstatSync(path, { throwIfNoEntry: false })?.isSymbolicLink() === true;
  return link ? locate(resolve(dirname(path), readlinkSync(path))) : { path, regular: true };
}

/** Throws, as the operating system says it, where no file can be made at `path`, or the one that is there not be replaced. */
export function assertWritable(path: string): void {
  const part = openPart(path);
  closeSync(part.file);
  rmSync(part.path);
}

type Named = Readonly<Record<string, string | undefined>>;
type Outputs = Readonly<Record<string, string | readonly string[] | undefined>>;

/**
 * Refuses two outputs in one file, which would destroy each other, and an output in what is read: an input file, or the model's
 * folder. Both are values of flags, or undefined, or the files that a flag stands for; `-` is stdout.
 */
export function assertDistinct(outputs: Outputs, inputs: Named): void {
  const read = new Map(
    Object.entries(inputs).flatMap(([flag, path]) =>
      (path === undefined ? [] : filesOf(path)).map((id) => [id, flag]),
    ),
  );
  const written = new Map<string, string>();
  const paths = Object.entries(outputs).flatMap(([flag, named]) =>
    [named ?? []].flat().map((path) => [flag, path] as const),
  );
  for (const [flag, path] of paths) {
    if (path === "-") continue;
    const place = refusedInWords(path, () => locate(path));
    if (!place.regular) continue;
    const folder = identify(dirname(place.path));
    const id = identify(place.path) ?? join(folder ?? "", basename(place.path));
    const input = read.get(id) ?? read.get(folder ?? "");
    if (input !== undefined)
      throw new BadInputError(`${path}: ${flag} would change what ${input} reads; name another file`);
    const other = written.get(id);
    if (other !== undefined) throw new BadInputError(`${path}: named by both ${other} and ${flag}`);
    written.set(id, flag);
  }
}

/** What tells a file from all others, whatever its names; null when there is none. */
function identify(path: string): string | null {
  const found = statSync(path, { bigint: true, throwIfNoEntry: false });
  return found ? `${found.dev}:${found.ino}` : null;
}

/** Identities of a file, or of a folder and what is in it. */
function filesOf(path: string): string[] {
  const isFolder = statSync(path, { throwIfNoEntry: false })?.isDirectory() === true;
  const paths = [path, ...(isFolder ? readdirSync(path).map((name) => join(path, name)) : [])];
  return paths.flatMap((one) => identify(one) ?? []);
}

const COMPARED_AT_ONCE = 2 ** 20;

/** Whether a file has, from its beginning on, all of what is in another one. */
function isBeginning(path: string, whole: string): boolean {
  const files = [openSync(path, "r"), openSync(whole, "r")] as const;
  const [own, other] = [Buffer.alloc(COMPARED_AT_ONCE), Buffer.alloc(COMPARED_AT_ONCE)];
  try {
    for (let at = 0, left = fstatSync(files[0]).size; left > 0;) {
      const read = readSync(files[0], own, 0, Math.min(left, COMPARED_AT_ONCE), at);
      if (read === 0 || readSync(files[1], other, 0, read, at) < read) return false;
      if (!own.subarray(0, read).equals(other.subarray(0, read))) return false;
      at += read;
      left -= read;
    }
    return true;
  } finally {
    files.forEach((file) => closeSync(file));
  }
}

/** A text that grows in FILE.part and appears under its name, whole, when it is committed. */
export class OutputFile implements Disposable {
  /** The path as the user gave it, for errors. */
  readonly #name: string;
  readonly #path: string;
  /** Where the text grows; null when it is written through. */
  readonly #part: Part | null;
  readonly #io: Pick<Io, "stop">;
  #file: number | null;
  #failure: Error | null = null;
  #committed = false;
  /** Whether something was written. */
  begun = false;
  private constructor(name: string, path: string, part: Part | null, file: number, io: Pick<Io, "stop">) {
    this.#name = name;
    this.#path = path;
    this.#part = part;
    this.#file = file;
    this.#io = io;
  }

  static async open(name: string, io: Pick<Io, "stop" | "signal">, terminal: Terminal): Promise<OutputFile> {
    if (name === "-") throw new BadInputError("-: no file; for one of that name write ./-");
    const { path, regular } = refusedInWords(name, () => locate(name));
    if (!regular) {
      const file = await openThrough(name, path, io.signal, terminal);
      return new OutputFile(name, path, null, file, io);
    }
    const part = refusedInWords(name, () => openPart(path));
    return new OutputFile(name, path, part, part.file, io);
  }

  /** Where it appears in the end, and where it grows. */
  get target(): string {
    return this.#path;
  }

  get part(): string | null {
    return this.#part?.path ?? null;
  }

  /** Whether no file of this name is there, or one that is the beginning of what was written. */
  get losesNothing(): boolean {
    return !this.#part || !existsSync(this.#path) || isBeginning(this.#path, this.#part.path);
  }

  /** Where what was written is, as long as it is not under its name. */
  get kept(): string | undefined {
    return this.begun && !this.#committed ? this.#part?.path : undefined;
  }

  /** When this fails, the run is asked to stop: the state can be kept where an output cannot. */
  write(text: string): void {
    if (this.#file === null || this.#failure || text === "") return;
    const bytes = Buffer.from(text);
    this.begun = true;
    try {
      // One write for each text, unless it is cut short: a reader sees no half of a line.
      for (let done = 0; done < bytes.length;) done += writeSync(this.#file, bytes, done);
    } catch (error) {
      this.#failure = new StoppedError(writeError(this.#name, error).message, { cause: error });
      this.#io.stop(this.#failure);
    }
  }

  /** The output is complete: it appears under its name, and survives a crash. */
  commit(): void {
    if (this.#failure) throw this.#failure;
    refusedInWords(this.#name, () => {
      if (this.#part && this.#file !== null) fsyncSync(this.#file);
      this.#close();
      if (this.#part) putInPlace(this.#part, this.#path);
    });
    this.#committed = true;
  }

  #close(): void {
    const file = this.#file;
    this.#file = null;
    if (file !== null) closeSync(file);
  }

  /** A part in which nothing was written is removed. */
  [Symbol.dispose](): void {
    this.#close();
    if (this.#part && !this.#committed && !this.begun) rmSync(this.#part.path, { force: true });
  }
}

const { O_WRONLY, O_APPEND, O_NONBLOCK } = constants;
const PIPE_POLL_MS = 50;

/** Opens what is no regular file. To open a pipe that nobody reads would block the process, Ctrl-C included: it is polled. */
async function openThrough(
  name: string,
  path: string,
  signal: AbortSignal,
  terminal: Terminal,
): Promise<number> {
  const isPipe = refusedInWords(name, () => statSync(path).isFIFO());
  for (let tries = 0; ; tries++) {
    try {
      const probe = openSync(path, O_WRONLY | O_APPEND | (isPipe ? O_NONBLOCK : 0));
      if (!isPipe) return probe;
      const file = openSync(path, O_WRONLY | O_APPEND);
      closeSync(probe);
      return file;
    } catch (error) {
      if (!isPipe || (error as NodeJS.ErrnoException).code !== "ENXIO") throw writeError(name, error);
    }
    if (tries === 0) terminal.note(`${name}: waiting for a reader of this pipe`);
    signal.throwIfAborted();
    await setTimeout(PIPE_POLL_MS);
  }
}

/** Takes records; `write` returns when the record is written. */
export interface RecordSink extends Disposable {
  readonly file: OutputFile | null;
  write(record: object): void;
}

/** JSON lines to a file, to stdout (`-`), or nowhere (undefined). JSON has no NaN and no infinity: such a figure is null. */
export async function openRecords(
  target: string | undefined,
  io: Pick<Io, "stop" | "signal" | "stdout">,
  terminal: Terminal,
): Promise<RecordSink> {
  const file = target === undefined || target === "-" ? null : await OutputFile.open(target, io, terminal);
  const sink = target === "-" ? io.stdout : file;
  return {
    file,
    write: (record) => sink?.write(`${JSON.stringify(record)}\n`),
    [Symbol.dispose]: () => file?.[Symbol.dispose](),
  };
}

/** Runs `act`; what the operating system refuses becomes one clear line about the file `name`. */
function refusedInWords<T>(name: string, act: () => T): T {
  try {
    return act();
  } catch (error) {
    throw writeError(name, error);
  }
}
