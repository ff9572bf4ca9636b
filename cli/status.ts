/**
 * Shows how much of a text has been written. When the text itself streams to the terminal, the figures stand dimmed at the right of
 * the cursor and give way to every piece of text; when it streams elsewhere, they are a bar.
 */
import { duration, rate } from "./format.ts";
import { updatesIn } from "../templora/decode.ts";
import type { Schedule } from "../templora/session_options.ts";
import type { Io, Output, ProgressState, Terminal } from "./output.ts";

const SAVE = "\x1b7";
const RESTORE = "\x1b8";
const CLEAR_TO_END = "\x1b[K";
const REDRAW_MS = 100;
/** Characters that a model must not send to a terminal: all controls except tab and line break. */
const CONTROLS = /[\x00-\x08\x0b-\x1f\x7f-\x9f]/g;

/** What the status depends on. */
export interface WritingPlan {
  readonly tokens: number;
  readonly chunk: number;
  readonly templora: boolean;
  readonly schedule: Schedule;
  /** Tokens that are given: texts to read, and the prompt. */
  readonly given: number;
  /** Where the texts to read end. */
  readonly ends: readonly number[];
}

/** What an earlier run, which this one resumes, has written and learnt: tokens. */
export interface WrittenBefore {
  readonly written: number;
  readonly learnt: number;
}

/** A text that streams, and figures beside it. */
export class TextStream {
  readonly #terminal: Terminal;
  readonly #io: Io;
  #drawn = 0;
  #inline = false;
  /** Estimated column of the cursor. */
  #column = 0;
  #endsLine = false;

  constructor(terminal: Terminal, io: Io) {
    this.#terminal = terminal;
    this.#io = io;
  }

  /** Writes a piece of the text to `out`. */
  show(piece: string, out: Output | null): void {
    if (!out || piece === "") return;
    this.#erase();
    this.#endsLine = piece.endsWith("\n");
    out.write(out.isTTY === true ? piece.replaceAll(CONTROLS, "\ufffd") : piece);
    const columns = this.#io.stderr.columns ?? 80;
    const line = piece.slice(piece.lastIndexOf("\n") + 1);
    const start = line === piece ? this.#column : 0;
    this.#column = (start + width(line)) % columns;
  }

  /** Draws the figures; not more often than eyes can follow, unless `always`. */
  draw(state: () => ProgressState, always = false): void {
    const now = performance.now();
    if (!always && now - this.#drawn < REDRAW_MS) return;
    this.#drawn = now;
    if (this.#terminal.sharesLine) this.#inlineStatus(state().figures);
    else this.#terminal.progress(state());
  }

  /** On a terminal the text ends with a line. */
  end(out: Output | null): void {
    this.#erase();
    this.#terminal.endProgress();
    if (out?.isTTY === true && !this.#endsLine) out.write("\n");
  }

  /** Draws the figures at the right of the cursor, if there is room: a line that wrapped would scroll the text. */
  #inlineStatus(figures: string): void {
    const room = (this.#io.stderr.columns ?? 80) - this.#column - 1;
    const status = ` [${figures}]`;
    if (status.length > room) return this.#erase();
    this.#io.stderr.write(`${SAVE}${CLEAR_TO_END}${this.#terminal.style(status, "dim")}${RESTORE}`);
    this.#inline = true;
  }

  #erase(): void {
    if (this.#inline) this.#io.stderr.write(CLEAR_TO_END);
    this.#inline = false;
  }
}

export class WritingStatus {
  readonly #stream: TextStream;
  readonly #work: WritingPlan;
  #learnt: number;
  /** Updates of this run. */
  #updates = 0;
  #written: number;
  /** Number of tokens written by an earlier run, which this one resumes. */
  readonly #earlier: number;
  /** When this run began, for the rate. */
  readonly #began = performance.now();

  constructor(terminal: Terminal, io: Io, work: WritingPlan, { written, learnt }: WrittenBefore) {
    this.#stream = new TextStream(terminal, io);
    this.#work = work;
    this.#learnt = learnt;
    this.#written = written;
    this.#earlier = written;
  }

  /** Writes a piece of the text to `out`. */
  show(piece: string, out: Output | null): void {
    this.#stream.show(piece, out);
  }

  token(): void {
    this.#written++;
    this.#draw(false);
  }

  /** An update of the adapter is done: so many tokens are learnt. */
  updated(learnt: number): void {
    this.#learnt = learnt;
    this.#updates++;
    this.#draw(true);
  }

  /** Updates that what is given still asks for, and the seconds that they take if they are as those before. */
  untilText(): { updates: number; seconds: number } {
    const { chunk, templora, given, ends } = this.#work;
    const updates = templora ? updatesIn(ends, this.#learnt, given + this.#written, chunk) : 0;
    return { updates, seconds: (updates * (performance.now() - this.#began)) / 1000 / this.#updates };
  }

  /** Call this often while something is computed. */
  tick(): void {
    this.#draw(false);
  }

  end(out: Output | null): void {
    this.#stream.end(out);
  }

  #draw(always: boolean): void {
    this.#stream.draw(() => this.#state, always);
  }

  get #state(): ProgressState {
    const { tokens, chunk, ends, schedule } = this.#work;
    const end = Math.min(this.#learnt + chunk, ends.find((one) => one > this.#learnt) ?? Infinity);
    const perToken = (performance.now() - this.#began) / 1000 / (this.#written - this.#earlier);
    const until = this.untilText();
    const beside = schedule === "parallel" && this.#written > this.#earlier; // the text does not wait for updates
    const doing =
      until.updates > 0 && !beside
        ? `training on tokens ${this.#learnt} to ${end - 1}`
        : this.#written === this.#earlier
          ? "reading the prompt"
          : `${rate(1 / perToken)} tokens/s`;
    const figures = [`${this.#written}/${tokens}`, doing];
    if (this.#written === 0 && Number.isFinite(until.seconds))
      figures.push(`${duration(until.seconds)} until the text begins`);
    if (this.#written > this.#earlier) figures.push(`${duration((tokens - this.#written) * perToken)} left`);
    return { label: "writing", fraction: this.#written / tokens, figures: figures.join(", ") };
  }
}

/** Terminal columns of a text: East Asian wide characters and emoji take two. */
export function width(text: string): number {
  let columns = 0;
  for (const c of text) {
    if (/\p{Mark}|\p{Control}|\p{Format}/u.test(c)) continue;
    columns +=
      /[\u1100-\u115f\u2e80-\u303e\u3041-\ua4cf\uac00-\ud7a3\uf900-\ufaff\ufe30-\ufe6f\uff00-\uff60\uffe0-\uffe6]|\p{Emoji_Presentation}|[\u{20000}-\u{3fffd}]/u.test(
        c,
      )
        ? 2
        : 1;
  }
  return columns;
}
