/** Reads texts, one session after the other; a run that stops between two chunks goes on there when it is resumed. */
import { basename } from "node:path";
import type { Device } from "../engine/device.ts";
import { DisposableStack } from "../engine/disposables.ts";
import { BadInputError, NonFiniteError } from "../engine/errors.ts";
import type { Llama } from "../model/llama.ts";
import type { ModelFiles } from "../model/model_files.ts";
import { writeTokens } from "../templora/decode.ts";
import { assertGuards } from "../templora/guard.ts";
import type { Keeper, Kept } from "../templora/keeping.ts";
import type { Recipe } from "../templora/config.ts";
import { readTokens } from "../templora/perplexity.ts";
import type { ChunkRecord } from "../templora/records.ts";
import { Session } from "../templora/session.ts";
import type { Memory, SessionOptions } from "../templora/session_options.ts";
import { hash } from "./identity.ts";
import { assertFits } from "./memory.ts";
import type { Io, Terminal } from "./output.ts";
import { ReadingProgress } from "./progress.ts";
import { type RunDevice, keepingAfterFaults } from "./run_device.ts";
import { loadModel, throwIfKept } from "./session.ts";
import type { RunState } from "./state.ts";
import { fileTokens } from "./texts.ts";

export interface Text {
  readonly path: string;
  readonly ids: Int32Array<ArrayBuffer>;
}

/** What not every job says. */
type Free = "sampling" | "banIds" | "tokenScores" | "onRepetition" | "keepBos" | keyof Memory;

/** One text, and how it is read. */
export interface Job {
  readonly text: Text;
  readonly modelFiles: ModelFiles;
  /** Where its first chunk has a length of its own. */
  readonly firstChunk?: number;
  readonly session: Omit<SessionOptions, "schedule" | "stopIds" | Free> & Partial<Pick<SessionOptions, Free>>;
  /** How many tokens to write behind it. */
  readonly writes?: number;
}

/** What reads and shows. */
export interface ReadingRun {
  readonly state: RunState;
  readonly terminal: Terminal;
  readonly io: Io;
}

/** What a command does with a job's records. */
export interface JobReport {
  /** Before the first job; a model is there then. */
  open(): void;
  /** Before the first chunk. */
  begin(job: Job): void;
  chunk(record: ChunkRecord, job: Job): void;
  /** `read` is null where an earlier run has read the whole text; `written`: what the job writes. */
  end(
    job: Job,
    records: readonly ChunkRecord[],
    read: { session: Session; keeper: Keeper } | null,
    written: string | null,
  ): Promise<void>;
  /** Numbers ceased to be finite before a job's end. Without an error of this the next one is read. */
  failed(job: Job, error: NonFiniteError): void;
}

/** The tokens of all texts, before any work: a wrong path should not be reported after the first book. */
export async function openTexts(
  paths: readonly string[],
  { tokenizer }: ModelFiles,
  {
    maxTokens,
    special,
    change,
  }: { readonly maxTokens?: number; readonly special?: boolean } & Pick<
    Parameters<typeof fileTokens>[4],
    "change"
  >,
  terminal: Terminal,
  io: Io,
): Promise<Text[]> {
  const wanted = { most: maxTokens ?? Infinity, parseSpecial: special === true, change };
  const texts: Text[] = [];
  for (const path of paths) {
    const ids = await fileTokens(path, tokenizer, terminal, io, wanted);
    if (ids.length < 2)
      throw new BadInputError(`${path}: ${ids.length} token(s); a perplexity needs at least two`);
    texts.push({ path, ids });
  }
  return texts;
}

/** What of the texts decides a run. */
export const hashesOf = (texts: readonly Text[]): string[] =>
  texts.map(({ ids }) => hash(new Uint8Array(ids.buffer)));

/**
 * Throws where flags and a recipe (null: nothing is learnt) do not go together. Reading computes the keys and values of every chunk's
 * context anew, unless nothing flows back through them.
 */
export function checkReading(
  {
    reuseCache = 0,
    baseline = true,
    generate,
  }: { readonly reuseCache?: number; readonly baseline?: boolean; readonly generate?: number },
  recipe: Recipe | null,
): void {
  assertGuards(recipe, baseline && generate === undefined);
  if (reuseCache > 0 && recipe?.context_grad)
    throw new BadInputError(
      `--reuse-cache ${reuseCache}: every chunk's context is read anew, unless it gets no gradient: add --context-grad off`,
    );
}

/** Throws where the memory does not hold a job. */
export async function assertAllFit(jobs: readonly Job[], device: Device): Promise<void> {
  const longest = new Map<string, Job>();
  for (const job of jobs) {
    const key = JSON.stringify({ ...job.session, config: job.modelFiles.config });
    const other = longest.get(key);
    if (!other || other.text.ids.length < job.text.ids.length) longest.set(key, job);
  }
  for (const { text, modelFiles, session, firstChunk = 0, writes = 0 } of longest.values()) {
    const { length } = text.ids;
    await assertFits(device, modelFiles, session, { tokens: length + writes, writes: writes > 0 });
    const first = { ...session, chunk: firstChunk, window: 0, trainWindow: 0 }; // all of it is scored
    if (firstChunk > 0)
      await assertFits(device, modelFiles, first, { tokens: Math.min(firstChunk, length), writes: false });
  }
}

/** Reads job after job. */
export async function readJobs(
  jobs: readonly Job[],
  device: RunDevice,
  run: ReadingRun,
  report: JobReport,
): Promise<void> {
  const { state, terminal, io } = run;
  const earlier = jobs.map(
    (_, index) => state.done(index) ?? state.keeper(index, () => undefined).earlier?.records ?? [],
  );
  const readings = jobs.map(({ text: { path, ids }, session }, i) => ({
    label: jobs.length > 1 ? `${basename(path)} (${i + 1} of ${jobs.length})` : basename(path),
    ...{ tokens: ids.length, session, earlier: earlier[i] ?? [] },
  }));
  const [first] = jobs;
  if (!first) return;
  const progress = new ReadingProgress(terminal, first.modelFiles.config, readings);
  using models = new Models(terminal, io, () => progress.tick());
  await keepingAfterFaults(state, terminal, async () => {
    await device.outlive((now) => models.of(first.modelFiles, now));
    report.open();
    for (const [index, job] of jobs.entries()) {
      const records: ChunkRecord[] = [];
      const take = (record: ChunkRecord): void => {
        records.push(record);
        report.chunk(record, job);
      };
      report.begin(job);
      earlier[index]?.forEach(take);
      if (state.done(index)) {
        await report.end(job, records, null, state.written(index));
        continue;
      }
      let read: Read;
      try {
        read = await device.outlive(async (now) => {
          const model = await models.of(job.modelFiles, now);
          const begin = (session: Session): void => progress.begin(index, session.task.meter, records);
          const chunk = (record: ChunkRecord): void => {
            take(record);
            progress.finished(record);
            device.progressed();
          };
          return readJob(index, job, model, records, run, { begin, chunk });
        });
      } catch (error) {
        if (!(error instanceof NonFiniteError)) throw error;
        terminal.endProgress();
        report.failed(job, error);
        continue;
      }
      using session = read.session;
      throwIfKept(state, io, terminal);
      terminal.endProgress();
      await report.end(job, records, { session, keeper: read.keeper }, read.written);
      state.finish(index, records, read.written);
    }
  });
}

/** A job that was read to its end, or to where the run was stopped. The caller disposes of the session. */
interface Read {
  readonly session: Session;
  readonly keeper: Keeper;
  readonly written: string | null;
}

/** Reads a job from the newest copy of its state on. `shown`: its records so far, of which that copy may lack the newest. */
async function readJob(
  index: number,
  job: Job,
  model: Llama,
  shown: readonly ChunkRecord[],
  { state, terminal, io }: ReadingRun,
  { begin, chunk }: { begin: (session: Session) => void; chunk: (record: ChunkRecord) => void },
): Promise<Read> {
  using stack = new DisposableStack();
  const keeper = state.keeper(index, (line) => terminal.note(line));
  const session = stack.use(new Session(model, job.session));
  begin(session);
  const options = { signal: io.signal, keeper, ...firstOf(job) };
  let at = keeper.earlier?.records.length ?? 0;
  for await (const record of readTokens(session, job.text.ids, options))
    if (at++ >= shown.length) chunk(record);
  const written =
    job.writes !== undefined && !state.kept
      ? await writeBehind(session, job, { records: shown, keeper }, terminal, io)
      : null;
  stack.move();
  return { session, keeper, written };
}

/** Writes on where the text ends, and returns what was written. Its updates are no part of the reading's records. */
async function writeBehind(
  session: Session,
  { text: { ids }, writes = 0 }: Job,
  { records, keeper }: { readonly records: readonly ChunkRecord[]; readonly keeper: Keeper },
  terminal: Terminal,
  io: Io,
): Promise<string> {
  const withReading = async (take: () => Promise<Kept>): Promise<Kept> => ({ ...(await take()), records });
  const behind: Keeper = {
    earlier: null, // the session is there already
    point: (take) => keeper.point(() => withReading(take)),
    stop: (take) => keeper.stop(() => withReading(take)),
  };
  for await (const event of writeTokens(session, ids, {
    tokens: writes,
    signal: io.signal,
    keeper: behind,
  })) {
    const done = session.length - ids.length;
    if (event.type === "token")
      terminal.progress({
        label: "writing",
        fraction: done / writes,
        figures: `${done} of ${writes} tokens`,
      });
  }
  return session.model.tokenizer.decode(session.ids.subarray(ids.length));
}

const firstOf = ({ firstChunk }: Job): { firstChunk?: number } =>
  firstChunk === undefined ? {} : { firstChunk };

/** The model of the job in progress: loaded anew only where the next job takes another configuration of it, or another device. */
class Models implements Disposable {
  readonly #load: (modelFiles: ModelFiles, device: Device) => Promise<Llama>;
  #loaded: Llama | null = null;
  #device: Device | null = null;
  #config = "";

  constructor(terminal: Terminal, io: Io, onWork: () => void) {
    this.#load = (modelFiles, device) => loadModel(modelFiles, device, terminal, io, onWork);
  }

  async of(modelFiles: ModelFiles, device: Device): Promise<Llama> {
    const config = JSON.stringify(modelFiles.config);
    if (this.#loaded && device === this.#device && config === this.#config) return this.#loaded;
    this[Symbol.dispose]();
    this.#loaded = await this.#load(modelFiles, device);
    this.#device = device;
    this.#config = config;
    return this.#loaded;
  }

  [Symbol.dispose](): void {
    this.#loaded?.dispose();
    this.#loaded = null;
  }
}
