/**
 * Where a command writes: results on stdout, notes and a progress bar on stderr, records as JSON lines. The bar yields to
 * every line that is written, so the two streams can share a terminal.
 */
import { closeSync, fsyncSync, openSync, renameSync, writeSync } from "node:fs";
import { writeError } from "./errors.ts";

/** A stream that may be a terminal. */
export interface Output {
  write(text: string): unknown;
  readonly isTTY?: boolean | undefined;
  readonly columns?: number | undefined;
}

/** The process as a command sees it; tests pass their own. */
export interface Io {
  readonly stdin: AsyncIterable<Uint8Array | string> & { readonly isTTY?: boolean | undefined };
  readonly stdout: Output;
  readonly stderr: Output;
  readonly env: Readonly<Record<string, string | undefined>>;
  /** Aborts when the user asks to stop. */
  readonly signal: AbortSignal;
}

const CLEAR_LINE = "\r\x1b[2K";
const REDRAW_MS = 100;
/** A log file wants a line now and then, not ten a second. */
const PLAIN_MS = 15_000;

export type Style = "dim" | "green" | "red" | "bold";
const codes: Readonly<Record<Style, number>> = { bold: 1, dim: 2, red: 31, green: 32 };

/** How far a run is. */
export interface ProgressState {
  /** What is being done, at the left of the bar. */
  readonly label: string;
  /** In [0, 1]. */
  readonly fraction: number;
  /** Figures at the right of the bar. */
  readonly figures: string;
}

export class Terminal {
  readonly #io: Io;
  readonly #quiet: boolean;
  /** Results go here: stdout; stderr when JSON has taken stdout; nowhere when stderr is to be quiet then. */
  readonly #results: Output | null;
  readonly #live: boolean;
  #bar = "";
  #drawn = 0;

  constructor(io: Io, options: { quiet: boolean; jsonOnStdout: boolean }) {
    this.#io = io;
    this.#quiet = options.quiet;
    this.#results = !options.jsonOnStdout ? io.stdout : options.quiet ? null : io.stderr;
    this.#live = io.stderr.isTTY === true && io.env["TERM"] !== "dumb" && !options.quiet;
  }

  /** Both streams are terminals, so that text on stdout and a status on stderr share a line. */
  get sharesLine(): boolean {
    return this.#live && this.#results?.isTTY === true;
  }

  /** Colours a piece of a result; as it is when colours are not wanted. */
  style(text: string, style: Style): string {
    const plain =
      (this.#io.env["NO_COLOR"] ?? "") !== "" ||
      this.#results?.isTTY !== true ||
      this.#io.env["TERM"] === "dumb";
    return plain ? text : `\x1b[${codes[style]}m${text}\x1b[0m`;
  }

  /** A result: whole lines. */
  result(lines: string): void {
    this.#above(() => this.#results?.write(lines));
  }

  /** A remark for people, on stderr. */
  note(line: string): void {
    if (!this.#quiet) this.#above(() => this.#io.stderr.write(`templora: ${line}\n`));
  }

  /** Draws the bar; without a terminal, a plain line now and then. */
  progress(state: ProgressState): void {
    if (this.#quiet) return;
    const now = performance.now();
    if (this.#live) {
      this.#bar = renderBar(state, this.#io.stderr.columns ?? 80);
      if (now - this.#drawn < REDRAW_MS && state.fraction < 1) return;
      this.#io.stderr.write(`${CLEAR_LINE}${this.#bar}`);
    } else {
      if (this.#drawn === 0) this.#drawn = now; // what ends soon needs no line
      if (now - this.#drawn < PLAIN_MS) return;
      this.#io.stderr.write(`${state.label}: ${Math.floor(100 * state.fraction)} %, ${state.figures}\n`);
    }
    this.#drawn = now;
  }

  /** Takes the bar away. */
  endProgress(): void {
    if (this.#bar !== "") this.#io.stderr.write(CLEAR_LINE);
    this.#bar = "";
    this.#drawn = 0;
  }

  #above(write: () => void): void {
    if (this.#bar === "") return write();
    this.#io.stderr.write(CLEAR_LINE);
    write();
    this.#io.stderr.write(this.#bar);
  }
}

/** `label ████████░░░░ figures`, cut to the terminal's width. */
export function renderBar({ label, fraction, figures }: ProgressState, columns: number): string {
  const room = columns - 1;
  const width = Math.min(30, room - label.length - figures.length - 4);
  if (width < 5) return `${label}  ${figures}`.slice(0, room);
  const full = Math.round(width * Math.min(1, Math.max(0, fraction)));
  return `${label}  ${"█".repeat(full)}${"░".repeat(width - full)}  ${figures}`;
}

/** Takes records; each is on its way when `write` returns. */
export interface RecordSink {
  write(record: object): void;
  close(): void;
}

/** JSON lines to a file, to stdout (`-`), or nowhere (undefined). */
export function openRecords(target: string | undefined, io: Io): RecordSink {
  if (target === undefined) return { write: () => undefined, close: () => undefined };
  if (target === "-") {
    return { write: (record) => void io.stdout.write(`${jsonLine(record)}\n`), close: () => undefined };
  }
  const file = openForWriting(target);
  return {
    // One write a line: who follows the file never sees half a record.
    write: (record) => writeText(file, `${jsonLine(record)}\n`, target),
    close: () => {
      trySync(file);
      closeSync(file);
    },
  };
}

/** JSON has no NaN; a figure that is none must not pass for "not measured". */
function jsonLine(record: object): string {
  return JSON.stringify(record, (key, value: unknown) => {
    if (typeof value === "number" && !Number.isFinite(value))
      throw new Error(`the result's ${key} is ${value}`);
    return value;
  });
}

/**
 * A text that grows and then appears under its name, whole: until then it is in FILE.part. When the run is interrupted,
 * what there is appears.
 */
export class TextFile {
  readonly #path: string;
  readonly #partial: string;
  readonly #file: number;

  constructor(path: string) {
    this.#path = path;
    this.#partial = `${path}.part`;
    this.#file = openForWriting(this.#partial);
  }

  write(text: string): void {
    writeText(this.#file, text, this.#partial);
  }

  close(): void {
    trySync(this.#file);
    closeSync(this.#file);
    try {
      renameSync(this.#partial, this.#path);
    } catch (error) {
      throw writeError(this.#path, error);
    }
  }
}

function openForWriting(path: string): number {
  try {
    return openSync(path, "w");
  } catch (error) {
    throw writeError(path, error);
  }
}

function writeText(file: number, text: string, path: string): void {
  try {
    const bytes = Buffer.from(text);
    for (let done = 0; done < bytes.length;) done += writeSync(file, bytes, done);
  } catch (error) {
    throw writeError(path, error);
  }
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
