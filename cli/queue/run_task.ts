/**
 * Reads a task's text by `templora ppl` itself, its state and its JSON lines, between a claim in the store and a result in it. What has
 * been read before, anywhere, is gone on with from the newest checkpoint.
 */
import { existsSync } from "node:fs";
import { copyFile, mkdir, rm, writeFile } from "node:fs/promises";
import { hostname } from "node:os";
import { basename, join } from "node:path";
import { Command } from "commander";
import { BadInputError, NonFiniteError } from "../../engine/errors.ts";
import { InterruptedError, type StoppedError, asFlags, firstError } from "../errors.ts";
import { printable } from "../format.ts";
import type { Io } from "../output.ts";
import { ppl } from "../ppl.ts";
import { argvOf } from "./flags.ts";
import { Claim, getResult, getText } from "./ledger.ts";
import type { Store } from "./store.ts";
import type { Task } from "./tasks.ts";
import { WorkFolder } from "./work_folder.ts";

export interface Setting {
  readonly device: string;
  readonly threads?: number;
  /** Time between two checkpoints, ms. */
  readonly checkpointMs: number;
}

export interface Progress {
  readonly chunks: number;
  readonly tokens: number;
  /** Of the text's checkpoint, where it was begun elsewhere. */
  readonly resumed: boolean;
}

/** How a delivery of a task ends. */
export type Ending =
  /** Its result is in the store; `made`: by this delivery. */
  | { readonly ended: "done"; readonly made: boolean }
  /** By the signal; its checkpoint is in the store. */
  | { readonly ended: "stopped" }
  /** Another delivery has taken it over. */
  | { readonly ended: "stale" };

/** Reading it again would end in the same way. */
export class TaskError extends Error {
  override readonly name = "TaskError";
}

export async function runTask(
  task: Task,
  store: Store,
  setting: Setting,
  signal: AbortSignal,
  onProgress: (progress: Progress) => void,
): Promise<Ending> {
  if ((await getResult(store, task.key)) !== null) return { ended: "done", made: false };
  const by = `${hostname()}:${process.pid}`;
  const claim = await Claim.take(store, task.key, by);
  await using work = await WorkFolder.make();
  const folder = work.path;
  const text = join(folder, "text", basename(task.text.name));
  const bytes = await getText(store, task.text.sha256);
  if (!bytes) throw new TaskError("its text is not in the store; submit the job again");
  await mkdir(join(folder, "text"));
  await writeFile(text, bytes);
  const state = join(folder, "state");
  let from = await claim.resume(state);
  for (;;) {
    const reading = new Reading(task, claim, setting, signal, onProgress);
    try {
      await reading.run(text, state, from !== null);
    } catch (error) {
      if (reading.stale) return { ended: "stale" };
      if (error instanceof InterruptedError) {
        await reading.keepLast();
        return { ended: "stopped" };
      }
      if (from === null || !isDamage(error)) throw taskError(error, text, task);
      from = null; // from the text's beginning, then
      await rm(state, { force: true });
      continue;
    }
    const facts = { type: "task", ...task, by, token: claim.token, resumed_from: from };
    const lines = reading.lines.map((line) => renamed(line, text, task.text.name));
    const made = await claim.finish(`${JSON.stringify(facts)}\n${lines.join("")}`);
    return { ended: "done", made };
  }
}

/** One run of ppl in this process. */
class Reading {
  readonly lines: string[] = [];
  stale = false;
  readonly #task: Task;
  readonly #claim: Claim;
  readonly #setting: Setting;
  readonly #onProgress: (progress: Progress) => void;
  readonly #stop = new AbortController();
  #chunks = 0;
  #tokens = 0;
  #state = "";
  #uploading: Promise<void> | null = null;
  /** Calls off the checkpoint that is on its way: a newer one or the result comes. */
  readonly #overtaken = new AbortController();
  /** Why the last checkpoint is not stored: a reason is told once, and once that it is over. */
  #unstored: string | null = null;

  constructor(
    task: Task,
    claim: Claim,
    setting: Setting,
    signal: AbortSignal,
    onProgress: (p: Progress) => void,
  ) {
    this.#task = task;
    this.#claim = claim;
    this.#setting = setting;
    this.#onProgress = onProgress;
    const stop = (): void => this.#stop.abort(new InterruptedError("the worker stops"));
    if (signal.aborted) stop();
    else signal.addEventListener("abort", stop, { once: true });
  }

  /** Throws what ppl throws. */
  async run(text: string, state: string, resume: boolean): Promise<void> {
    this.#state = state;
    const { device, threads, checkpointMs } = this.#setting;
    const io: Io = {
      stdin: Object.assign(nothing(), { isTTY: false }),
      stdout: { write: (line: string) => this.#take(line, resume) },
      stderr: { write: () => true },
      env: process.env,
      signal: this.#stop.signal,
      stop: (reason: StoppedError) => this.#stop.abort(reason),
      checkpoints: { everyMs: checkpointMs, saved: (path) => this.#saved(path) },
    };
    const fixed = ["--device", device, ...(threads === undefined ? [] : ["--threads", String(threads)])];
    const { flags, model } = this.#task;
    const argv = [`--model=${model.name}`, ...argvOf(flags, "its flags"), ...fixed];
    const command = new Command("ppl").exitOverride();
    ppl(command, io, []);
    try {
      const outputs = ["--state", state, ...(resume ? ["--resume"] : []), "--json", "-"];
      await command.parseAsync([...argv, ...outputs, "--", text], { from: "user" });
      this.#overtaken.abort();
    } catch (error) {
      const first = firstError(error);
      if (first instanceof InterruptedError) this.#overtaken.abort();
      throw first;
    } finally {
      await this.#uploading;
    }
  }

  /** The state that a stop has left, if the reading had begun. Throws where it cannot be stored: the one before it is there. */
  async keepLast(): Promise<void> {
    if (existsSync(this.#state) && !(await this.#claim.isStale())) await this.#claim.keep(this.#state);
  }

  #take(line: string, resumed: boolean): void {
    this.lines.push(line);
    const { type, tokens = 0 } = JSON.parse(line) as { type: string; tokens?: number };
    if (type !== "chunk") return;
    this.#chunks++;
    this.#tokens += tokens;
    this.#onProgress({ chunks: this.#chunks, tokens: this.#tokens, resumed });
  }

  /** The reading goes on while a checkpoint is on its way: a copy of the file, which the next one replaces. */
  #saved(path: string): void {
    if (this.#uploading || this.#stop.signal.aborted) return;
    const copy = `${path}.up`;
    this.#uploading = (async () => {
      try {
        await copyFile(path, copy);
        if (await this.#claim.isStale()) {
          this.stale = true;
          this.#stop.abort(new InterruptedError("taken over"));
        } else {
          await this.#claim.keep(copy, this.#overtaken.signal);
          this.#tellStored(null);
        }
      } catch (error) {
        // no reason to end a reading that goes well
        if (!this.#overtaken.signal.aborted) this.#tellStored(error as NodeJS.ErrnoException);
      } finally {
        await rm(copy, { force: true });
        this.#uploading = null;
      }
    })();
  }

  #tellStored(error: NodeJS.ErrnoException | null): void {
    const unstored = error && (error.code ?? error.message); // messages name files, each its own
    if (unstored === this.#unstored) return;
    this.#unstored = unstored;
    const told = error ? `a checkpoint is not stored: ${error.message}` : "checkpoints are stored again";
    process.stderr.write(`templora: ${printable(`${this.#task.text.name}: ${told}`)}\n`);
  }
}

async function* nothing(): AsyncGenerator<string> {}

const isDamage = (error: unknown): boolean =>
  error instanceof BadInputError &&
  /: the state is (damaged|of an? \w+ version)|not a state file/.test(error.message);

/** An error that does not name the text where ppl read it: whoever tells of a task's error says whose it is. */
function taskError(error: unknown, path: string, { text: { name } }: Task): Error {
  const message = asFlags((error as Error).message)
    .replaceAll(`${path}: `, "")
    .replaceAll(path, name);
  const again = !(error instanceof BadInputError) && !(error instanceof NonFiniteError);
  return again ? new Error(message) : new TaskError(message);
}

/** ppl names the text by the path at which it was read. */
function renamed(line: string, path: string, name: string): string {
  return line.replace(`"text":${JSON.stringify(path)}`, `"text":${JSON.stringify(name)}`);
}
