/** Shows how much of one or several texts has been read, or of a file downloaded, and how long the rest will take. */
import type { Meter } from "../engine/meter.ts";
import type { ModelConfig } from "../model/config.ts";
import { dropsOut } from "../templora/config.ts";
import { chunkSpans } from "../templora/chunks.ts";
import { type ChunkRecord, Totals } from "../templora/records.ts";
import type { SessionOptions, Windows } from "../templora/session_options.ts";
import { bytes, count, duration, figure, rate, sparkline } from "./format.ts";
import type { Terminal } from "./output.ts";

/** A backward pass costs about as much as two forward passes. */
const TRAINING_PASSES = 3;
const TICK_MS = 100;

/** One text as one session reads it. */
export interface Reading {
  readonly label: string;
  /** Of the text. */
  readonly tokens: number;
  readonly session: Pick<
    SessionOptions,
    keyof Omit<Windows, "reuseCache"> | "recipe" | "baseline" | "templora"
  >;
  /** What an earlier run has read of it. */
  readonly earlier: readonly ChunkRecord[];
}

/**
 * Chunks differ in cost (the first have less context), so progress over all readings is measured in arithmetic: an estimate in
 * tokens passed through the model, scaled by what the sessions' meters counted on the chunks done.
 */
export class ReadingProgress {
  readonly #terminal: Terminal;
  readonly #readings: readonly Reading[];
  /** Estimated work of each chunk of each reading, in tokens passed forward through the model. */
  readonly #work: readonly (readonly number[])[];
  readonly #total: number;
  /** Work that an earlier run has done. */
  readonly #earlier: number;
  #flopsPerUnit: number;
  #meter: Meter | null = null;
  #began = 0;
  #flopsBefore = 0;
  /** Sums over the chunks that this run has finished. */
  #done = { tokens: 0, work: 0, flops: 0 };
  #reading = 0;
  /** Of the reading in progress: chunks, and the gain of each that has scores, nats a token. */
  #chunks = 0;
  #gains: number[] = [];
  #totals = new Totals();
  #ticked = 0;

  constructor(terminal: Terminal, config: ModelConfig, readings: readonly Reading[]) {
    this.#terminal = terminal;
    this.#readings = readings;
    this.#work = readings.map(workOf);
    const sum = (work: readonly number[]): number => work.reduce((all, x) => all + x, 0);
    this.#total = sum(this.#work.map(sum));
    this.#earlier = sum(readings.map(({ earlier }, i) => sum(this.#work[i]?.slice(0, earlier.length) ?? [])));
    const { hidden_size: D, num_hidden_layers: L, intermediate_size: F, vocab_size: V, head_dim: E } = config;
    const heads = 2 * config.num_attention_heads + 2 * config.num_key_value_heads;
    this.#flopsPerUnit = 2 * (L * (D * E * heads + 3 * D * F) + D * V);
  }

  /** The session that does reading `index` begins, of which there are `records` already; `meter` is its task's. */
  begin(index: number, meter: Meter, records = this.#readings[index]?.earlier ?? []): void {
    this.#began ||= performance.now();
    this.#reading = index;
    this.#meter = meter;
    this.#flopsBefore = meter.flops;
    [this.#chunks, this.#gains] = [0, []];
    this.#totals = new Totals();
    for (const record of records) this.#take(record);
    this.#draw(0);
  }

  /** Call this often while a chunk is worked on. */
  tick(): void {
    const now = performance.now();
    if (!this.#meter || now - this.#ticked < TICK_MS) return;
    const flops = this.#meter.flops - this.#flopsBefore;
    this.#draw(Math.min(0.99 * this.#chunkWork, flops / this.#flopsPerUnit));
  }

  finished(record: ChunkRecord): void {
    const flops = this.#meter?.flops ?? 0;
    const done = this.#done;
    done.flops += flops - this.#flopsBefore;
    done.work += this.#chunkWork;
    done.tokens += record.tokens;
    this.#flopsBefore = flops;
    if (done.work > 0) this.#flopsPerUnit = done.flops / done.work;
    this.#take(record);
    // All gains so far are drawn: not for each of thousands of short chunks.
    if (this.#chunkWork === 0 || performance.now() - this.#ticked >= TICK_MS) this.#draw(0);
  }

  /** Work of the chunk in progress. */
  get #chunkWork(): number {
    return this.#work[this.#reading]?.[this.#chunks] ?? 0;
  }

  #take(record: ChunkRecord): void {
    this.#chunks++;
    this.#totals.add(record);
    const { base_nll, lora_nll, tokens } = record;
    if (tokens > 0) this.#gains.push(((base_nll ?? 0) - (lora_nll ?? 0)) / tokens);
  }

  #draw(partial: number): void {
    this.#ticked = performance.now();
    const { tokens, work } = this.#done;
    const { label = "", tokens: length = 0 } = this.#readings[this.#reading] ?? {};
    const chunks = this.#work[this.#reading]?.length ?? 0;
    const fraction = this.#total === 0 ? 1 : (this.#earlier + work + partial) / this.#total;
    const seconds = (performance.now() - this.#began) / 1000;
    const figures: string[] = [];
    if (tokens > 0) figures.push(`${rate(tokens / (seconds * (work / (work + partial))))} tokens/s`);
    else figures.push(`${count(length)} tokens`);
    const left = this.#total - this.#earlier - work - partial;
    if (seconds > 1 && work + partial > 0)
      figures.push(`${duration((seconds * left) / (work + partial))} left`);
    const chunk = `chunk ${Math.min(this.#chunks + 1, chunks)}/${chunks}`;
    this.#terminal.progress({
      label,
      fraction,
      figures: figures.join(", "),
      more: [...this.#running(), chunk],
    });
  }

  /** The perplexities so far of the text in progress, and how the gain went. */
  #running(): string[] {
    const { base_ppl: base, lora_ppl: lora } = this.#totals.perplexities;
    const one = base ?? lora;
    if (one === null) return [];
    if (base === null || lora === null) return [`ppl ${figure(one)}`];
    return [`ppl ${figure(base)} → ${figure(lora)} ${sparkline(this.#gains, 8)}`];
  }
}

function workOf({
  tokens,
  session: { chunk, window, trainWindow, recipe, baseline, templora },
}: Reading): number[] {
  return [...chunkSpans(tokens, chunk)].map(({ start, end }) => {
    const scored = Math.min(window, start) + end - start;
    const trained = Math.min(trainWindow, start) + end - start;
    const shared = !dropsOut(recipe) && scored === trained; // the first step's forward pass scores
    const passes = (baseline ? 1 : 0) + (templora && !shared ? 1 : 0);
    return passes * scored + (templora ? recipe.epochs * TRAINING_PASSES * trained : 0);
  });
}

/** Bytes that come from somewhere. */
export class DownloadProgress {
  readonly #terminal: Terminal;
  readonly #label: string;
  readonly #total: number;
  /** When the first bytes came, and how many there were before. */
  #began = 0;
  readonly #earlier: number;
  done: number;

  constructor(terminal: Terminal, label: string, total: number, earlier = 0) {
    [this.#terminal, this.#label, this.#total] = [terminal, label, total];
    this.#earlier = this.done = earlier;
  }

  /** `n` bytes more; fewer, where some were of no use. */
  add(n: number): void {
    this.#began ||= performance.now();
    this.done += n;
    const seconds = (performance.now() - this.#began) / 1000;
    const perSecond = (this.done - this.#earlier) / seconds;
    const figures = [`${bytes(this.done)} of ${bytes(this.#total)}`];
    if (seconds > 1 && perSecond > 0)
      figures.push(`${bytes(perSecond)}/s`, `${duration((this.#total - this.done) / perSecond)} left`);
    const [label, fraction] = [this.#label, this.done / this.#total];
    this.#terminal.progress({ label, fraction, figures: figures.join(", ") });
  }

  end(): void {
    this.#terminal.endProgress();
  }
}
