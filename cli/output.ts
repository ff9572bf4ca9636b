/**
 * The terminal: results on stdout, notes and a progress bar on stderr. The bar is removed for every line that is written and
 * drawn again after it, so the two streams can share a terminal.
 */
import type { Device } from "../engine/device.ts";
import type { StoppedError } from "./errors.ts";
import { printable } from "./format.ts";

/** A stream that may be a terminal. */
export interface Output {
  write(text: string): unknown;
  readonly isTTY?: boolean | undefined;
  readonly columns?: number | undefined;
}

/** Where a run's states go beside the file that they are in, as the queue has it. */
export interface Checkpoints {
  /** Time between two saves. */
  readonly everyMs: number;
  /** A state is whole in the file at `path`; the next one replaces that file. */
  saved(path: string): void;
}

/** Streams, environment and stop signal of the process; tests pass their own. */
export interface Io {
  readonly stdin: AsyncIterable<Uint8Array | string> & { readonly isTTY?: boolean | undefined };
  readonly stdout: Output;
  readonly stderr: Output;
  readonly env: Readonly<Record<string, string | undefined>>;
  /** Aborts when the run is to stop between two steps; the reason is a StoppedError. */
  readonly signal: AbortSignal;
  /** Aborts `signal`: the run keeps its state, and ends with `reason`. */
  stop(reason: StoppedError): void;
  readonly checkpoints?: Checkpoints;
  /** Called with the device once a model is on it, for whoever watches a run. */
  opened?(device: Device): void;
}

const CLEAR_LINE = "\r\x1b[2K";
const REDRAW_MS = 100;
/** Without a terminal: time between two lines of progress. */
const PLAIN_MS = 15_000;

export type Style = "dim" | "green" | "red" | "bold";
const codes: Readonly<Record<Style, number>> = { bold: 1, dim: 2, red: 31, green: 32 };

/** The state of a run, as a progress bar shows it. */
export interface ProgressState {
  /** Names the work; stands at the left of the bar. */
  readonly label: string;
  /** Share of the work that is done, from 0 to 1. */
  readonly fraction: number;
  /** Figures at the right of the bar. */
  readonly figures: string;
  /** More of them, the first first, where there is room. */
  readonly more?: readonly string[];
}

export class Terminal implements Disposable {
  readonly #io: Io;
  readonly #quiet: boolean;
  /** Where results go: stdout; stderr when stdout has the JSON; nowhere when stderr must then be quiet. */
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

  /** Colours a piece of a result; unchanged where colours are not wanted. */
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
    if (!this.#quiet) this.#above(() => this.#io.stderr.write(`templora: ${printable(line)}\n`));
  }

  /** Draws the bar; without a terminal, a plain line now and then. */
  progress(shown: ProgressState): void {
    if (this.#quiet) return;
    const state = { ...shown, label: printable(shown.label) };
    const now = performance.now();
    if (this.#live) {
      this.#bar = renderBar(state, this.#io.stderr.columns ?? 80);
      if (now - this.#drawn < REDRAW_MS && state.fraction < 1) return;
      this.#io.stderr.write(`${CLEAR_LINE}${this.#bar}`);
    } else {
      if (this.#drawn === 0) this.#drawn = now; // work that ends soon needs no line
      if (now - this.#drawn < PLAIN_MS) return;
      const { label, fraction, figures, more = [] } = state;
      const said = [figures, ...more].join(", ");
      this.#io.stderr.write(`${label}: ${Math.floor(100 * fraction)} %, ${said}\n`);
    }
    this.#drawn = now;
  }

  /** Removes the bar. */
  endProgress(): void {
    if (this.#bar !== "") this.#io.stderr.write(CLEAR_LINE);
    this.#bar = "";
    this.#drawn = 0;
  }

  [Symbol.dispose](): void {
    this.endProgress();
  }

  #above(write: () => void): void {
    if (this.#bar === "") return write();
    this.#io.stderr.write(CLEAR_LINE);
    write();
    this.#io.stderr.write(this.#bar);
  }
}

/** A bar is as long as there is room, within these. */
const [SHORT_BAR, LONG_BAR] = [8, 30];

/** `label ████████░░░░ figures`, cut to the terminal's width. */
export function renderBar(
  { label, fraction, figures: first, more = [] }: ProgressState,
  columns: number,
): string {
  const room = columns - 1;
  const beside = (figures: string): number => room - label.length - figures.length - 4;
  let figures = first;
  for (const one of more) {
    const longer = `${figures}, ${one}`;
    if (beside(longer) >= SHORT_BAR) figures = longer;
  }
  const width = Math.min(LONG_BAR, beside(figures));
  if (width < 5) return `${label}  ${figures}`.slice(0, room);
  const full = Math.round(width * Math.min(1, Math.max(0, fraction)));
  return `${label}  ${"█".repeat(full)}${"░".repeat(width - full)}  ${figures}`;
}
