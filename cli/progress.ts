/** Shows how much of a text has been read, or of a file downloaded, and how long the rest will take. */
import type { Meter } from "../engine/meter.ts";
import type { ModelConfig } from "../model/config.ts";
import { chunkSpans } from "../templora/chunks.ts";
import type { Recipe } from "../templora/config.ts";
import type { ChunkRecord } from "../templora/records.ts";
import { bytes, count, duration, rate } from "./format.ts";
import type { Terminal } from "./output.ts";

/** A backward pass costs about as much as two forward passes. */
const TRAINING_PASSES = 3;
const TICK_MS = 100;

export interface Plan {
  readonly chunk: number;
  readonly window: number;
  readonly trainWindow: number;
  readonly recipe: Recipe;
  readonly baseline: boolean;
  readonly templora: boolean;
}

/**
 * Chunks differ in cost (the first have less context), so progress is measured in arithmetic: an estimate in tokens
 * passed through the model, scaled by what the session's meter counted on the chunks done.
 */
export class ReadingProgress {
  readonly #terminal: Terminal;
  readonly #meter: Meter;
  readonly #label: string;
  readonly #tokens: number;
  /** Estimated work of each chunk, in tokens passed forward through the model. */
  readonly #work: readonly number[];
  readonly #total: number;
  #flopsPerUnit: number;
  #began = 0;
  #flopsBefore = 0;
  /** Work of the chunks that an earlier run has done. */
  readonly #earlier: number;
  /** Sums over the chunks that this run has finished. */
  #done = { chunks: 0, tokens: 0, work: 0, flops: 0 };
  #ticked = 0;

  constructor(
    terminal: Terminal,
    meter: Meter,
    config: ModelConfig,
    label: string,
    tokens: number,
    plan: Plan,
    earlierChunks: number,
  ) {
    this.#terminal = terminal;
    this.#meter = meter;
    this.#label = label;
    this.#tokens = tokens;
    this.#work = [...chunkSpans(tokens, plan.chunk)].map(({ start, end }) => {
      const scored = Math.min(plan.window, start) + end - start;
      const trained = Math.min(plan.trainWindow, start) + end - start;
      const shared = plan.recipe.dropout === 0 && scored === trained; // the first step's forward pass scores
      const passes = (plan.baseline ? 1 : 0) + (plan.templora && !shared ? 1 : 0);
      return passes * scored + (plan.templora ? plan.recipe.epochs * TRAINING_PASSES * trained : 0);
    });
    this.#total = this.#work.reduce((sum, x) => sum + x, 0);
    this.#earlier = this.#work.slice(0, earlierChunks).reduce((sum, x) => sum + x, 0);
    this.#done.chunks = earlierChunks;
    const { hidden_size: D, num_hidden_layers: L, intermediate_size: F, vocab_size: V, head_dim: E } = config;
    const heads = 2 * config.num_attention_heads + 2 * config.num_key_value_heads;
    this.#flopsPerUnit = 2 * (L * (D * E * heads + 3 * D * F) + D * V);
  }

  begin(): void {
    this.#began = performance.now();
    this.#flopsBefore = this.#meter.flops;
    this.#draw(0);
  }

  /** Call this often while a chunk is worked on. */
  tick(): void {
    const now = performance.now();
    if (this.#began === 0 || now - this.#ticked < TICK_MS) return;
    this.#ticked = now;
    const flops = this.#meter.flops - this.#flopsBefore;
    const current = this.#work[this.#done.chunks] ?? 0;
    this.#draw(Math.min(0.99 * current, flops / this.#flopsPerUnit));
  }

  finished(record: ChunkRecord): void {
    const { flops } = this.#meter;
    const done = this.#done;
    done.flops += flops - this.#flopsBefore;
    done.work += this.#work[done.chunks] ?? 0;
    done.tokens += record.tokens;
    done.chunks++;
    this.#flopsBefore = flops;
    if (done.work > 0) this.#flopsPerUnit = done.flops / done.work;
    this.#draw(0);
  }

  #draw(partial: number): void {
    const { chunks, tokens, work } = this.#done;
    const fraction = this.#total === 0 ? 1 : (this.#earlier + work + partial) / this.#total;
    const seconds = (performance.now() - this.#began) / 1000;
    const figures = [`chunk ${Math.min(chunks + 1, this.#work.length)}/${this.#work.length}`];
    if (tokens > 0) figures.push(`${rate(tokens / (seconds * (work / (work + partial))))} tokens/s`);
    else figures.push(`${count(this.#tokens)} tokens`);
    const left = this.#total - this.#earlier - work - partial;
    if (seconds > 1 && work + partial > 0)
      figures.push(`${duration((seconds * left) / (work + partial))} left`);
    this.#terminal.progress({ label: this.#label, fraction, figures: figures.join(", ") });
  }
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
