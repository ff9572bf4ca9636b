/**
 * Perplexity as llama.cpp's tool `llama-perplexity` measures it, so that its figures can be compared: the text in windows that know
 * nothing of each other, each beginning with BOS where the model's texts do, and of each the second half scored. The base model alone.
 * https://github.com/ggml-org/llama.cpp/blob/master/tools/perplexity/perplexity.cpp
 */
import { BadInputError } from "../engine/errors.ts";
import { Task } from "../engine/task.ts";
import type { Llama } from "../model/llama.ts";
import { bosOf, headed } from "./chunks.ts";
import { type Keeping, keeping } from "./keeping.ts";
import { nonFinite } from "./nonfinite.ts";
import type { Spent } from "./records.ts";
import { Stopwatch } from "./stopwatch.ts";
import { tokenLosses } from "./scoring.ts";

export interface WindowRecord extends Spent {
  /** Of the window. */
  readonly index: number;
  /** Index in the text of the first token that is scored. */
  readonly start: number;
  /** Tokens scored, and those of the window before them. */
  readonly tokens: number;
  readonly context: number;
  /** Sum over the scored tokens of the negative log-likelihoods, nats, and of their squares. */
  readonly nll: number;
  readonly nll_squares: number;
}

/** A reading between two windows. */
export interface WindowsSnapshot {
  /** Windows scored. */
  readonly learnt: number;
}

/** Scores the windows of a text one after the other. */
export class WindowScorer implements Disposable {
  readonly task: Task;
  readonly #model: Llama;
  readonly #ids: Int32Array;
  readonly #size: number;
  readonly #bos: number | null;
  #done = 0;

  /** `size`: tokens of a window; what is left of the text at its end is not read. Two windows are the least. */
  constructor(model: Llama, ids: Int32Array, size: number) {
    if (size < 4) throw new BadInputError(`window ${size}: expected at least 4 tokens`);
    if (size > model.config.max_position_embeddings)
      throw new BadInputError(
        `window ${size}: the model has ${model.config.max_position_embeddings} positions`,
      );
    if (ids.length < 2 * size)
      throw new BadInputError(
        `${ids.length} tokens: this perplexity needs two windows, 2 × ${size} tokens; give a longer text or smaller windows`,
      );
    this.task = new Task(model.device);
    this.#model = model;
    this.#ids = ids;
    this.#size = size;
    this.#bos = bosOf(ids, model.config);
  }

  get done(): boolean {
    return (this.#done + 1) * this.#size > this.#ids.length;
  }

  async next(): Promise<WindowRecord> {
    const index = this.#done;
    const [size, from] = [this.#size, this.#size >> 1];
    const window = headed(this.#ids.subarray(index * size, (index + 1) * size), this.#bos);
    const [inputs, targets] = [window.subarray(0, -1), window.subarray(from + 1)];
    const watch = new Stopwatch(this.task.meter);
    const start = index * size + from + 1;
    const losses = await this.task.unit(async () => {
      const sequence = { start: index * size, inputs, from, targets, context: from + 1 };
      const values = await tokenLosses(this.task, this.#model, sequence);
      if (values.some((x) => !Number.isFinite(x)))
        throw await nonFinite("the loss is not finite", this.task, this.#model, inputs, null);
      return values;
    });
    watch.book("base");
    this.#done++;
    return {
      ...{ index, start, tokens: targets.length, context: from + 1 },
      nll: losses.reduce((sum, x) => sum + x, 0),
      nll_squares: losses.reduce((sum, x) => sum + x * x, 0),
      ...watch.spent,
    };
  }

  snapshot(): Promise<WindowsSnapshot> {
    return Promise.resolve({ learnt: this.#done });
  }

  restore({ learnt }: WindowsSnapshot): Promise<void> {
    this.#done = learnt;
    return Promise.resolve();
  }

  [Symbol.dispose](): void {
    this.task.dispose();
  }
}

/** Yields one record for each window. */
export async function* scoreWindows(
  scorer: WindowScorer,
  options: Keeping<WindowRecord, WindowsSnapshot> = {},
): AsyncGenerator<WindowRecord> {
  const kept = await keeping(scorer, options);
  while ((await kept.goesOn()) && !scorer.done) {
    const record = await scorer.next();
    kept.records.push(record);
    yield record;
  }
}

/** exp of the mean negative log-likelihood, and its standard error, as that tool prints them: `PPL = ppl +/- error`. */
export function estimateOf(records: readonly Pick<WindowRecord, "tokens" | "nll" | "nll_squares">[]): {
  readonly tokens: number;
  readonly ppl: number;
  readonly error: number;
} {
  const sum = (of: (record: (typeof records)[number]) => number): number =>
    records.reduce((total, record) => total + of(record), 0);
  const tokens = sum((record) => record.tokens);
  const mean = sum(({ nll }) => nll) / tokens;
  const variance = sum(({ nll_squares }) => nll_squares) / tokens - mean * mean;
  const ppl = Math.exp(mean);
  return { tokens, ppl, error: variance > 0 ? Math.sqrt(variance / (tokens - 1)) * ppl : 0 };
}
