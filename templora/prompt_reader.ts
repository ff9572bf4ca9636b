/**
 * A model at work on one prompt after the other, each of which begins as the one before does: what they share stays in a cache. Behind
 * a prompt it scores a line that is given, and writes one itself, greedily.
 */
import { at } from "../kernels/base/at.ts";
import { DisposableStack } from "../engine/disposables.ts";
import type { Task } from "../engine/task.ts";
import { Decoder } from "../model/decoder.ts";
import { KVCache } from "../model/kv_cache.ts";
import type { Llama } from "../model/llama.ts";
import { Sampler, greedy } from "../model/sample.ts";
import type { Learnable } from "./learnable.ts";
import { score } from "./scoring.ts";

export interface WritingOptions {
  readonly maxNewTokens: number;
  /** Counts the prompt's tokens, too. */
  readonly repetitionPenalty: number;
}

export interface WritingLine {
  /** When it aborts, no further token is chosen. */
  readonly signal?: AbortSignal | undefined;
  /** Called with each piece of the text as it is written. */
  readonly onText?: ((piece: string) => void) | undefined;
}

/** A line that the model wrote. */
export interface Written {
  readonly text: string;
  readonly tokens: number;
  /** Its tokens came to their end before the line did. */
  readonly cut: boolean;
}

export class PromptReader implements Disposable {
  readonly #task: Task;
  readonly #model: Llama;
  readonly #adapter: Learnable | null;
  readonly #cache: KVCache;
  readonly #decoder: Decoder;
  readonly #sampler: Sampler;
  readonly #maxNewTokens: number;
  readonly #owned: DisposableStack;
  #prompt: Int32Array = new Int32Array();

  constructor(
    task: Task,
    model: Llama,
    adapter: Learnable | null,
    capacity: number,
    { repetitionPenalty, maxNewTokens }: WritingOptions,
  ) {
    using stack = new DisposableStack();
    this.#task = task;
    this.#model = model;
    this.#adapter = adapter;
    this.#maxNewTokens = maxNewTokens;
    this.#cache = stack.use(new KVCache(task.device, model.config, capacity));
    this.#decoder = stack.use(new Decoder(task, model, this.#cache, adapter));
    const sampling = { ...greedy, repetition_penalty: repetitionPenalty };
    const distinct = Math.min(capacity, model.config.vocab_size);
    this.#sampler = stack.use(new Sampler(task, sampling, 0, [], distinct));
    model.reserve(capacity);
    this.#owned = stack.move();
  }

  /** Empties the cache: the next prompt is read from its beginning. */
  forget(): void {
    this.#cache.clear();
    this.#prompt = new Int32Array();
  }

  /** Reads a prompt but for its last token, which `score` and `translate` begin with. */
  async read(prompt: Int32Array): Promise<void> {
    const last = prompt.length - 1;
    const differs = prompt.findIndex((id, i) => id !== this.#prompt[i]);
    const shared = Math.min(differs === -1 ? last : differs, last, Math.max(0, this.#prompt.length - 1));
    await this.#task.unit(async () => {
      using _scope = this.#task.scope();
      this.#cache.rewind(shared);
      const rest = this.#model.ids(this.#task, prompt.subarray(shared, last));
      const pass = { adapter: this.#adapter, cache: this.#cache, from: last - shared - 1 };
      if (shared < last) this.#model.forward(rest, pass);
    });
    this.#prompt = prompt;
  }

  /** Sum of the negative log-likelihoods of `targets` behind the prompt, nats. */
  score(targets: Int32Array): Promise<number> {
    const from = this.#prompt.length - 1;
    const inputs = Int32Array.from([...this.#prompt, ...targets.subarray(0, -1)]);
    const sequence = { start: 0, inputs, from, targets, context: this.#prompt.length };
    return this.#task.unit(() => score(this.#task, this.#model, sequence, this.#adapter, this.#cache));
  }

  /** What the model goes on with, until the end of the line or of its turn. Throws the signal's reason where that ends it. */
  async translate({ signal, onText }: WritingLine = {}): Promise<Written> {
    const { tokenizer } = this.#model;
    const stream = tokenizer.stream({ continued: true });
    const seen = [...this.#prompt];
    const most = seen.length + this.#maxNewTokens;
    let [text, line] = ["", ""];
    const push = (piece: string): void => {
      text += piece;
      const longer = at(text.split("\n"), 0).trim();
      if (longer !== line) onText?.(longer.slice(line.length));
      line = longer;
    };
    this.#cache.rewind(seen.length - 1);
    while (seen.length < most && !text.includes("\n")) {
      signal?.throwIfAborted();
      const id = await this.#task.unit(async () => {
        using _scope = this.#task.scope();
        const hidden = this.#decoder.read(Int32Array.of(at(seen, seen.length - 1)));
        return await this.#sampler.next(this.#model.logits(hidden), seen);
      });
      if (tokenizer.eosIds.includes(id)) break;
      seen.push(id);
      push(stream.push(id));
    }
    push(stream.end());
    const cut = seen.length === most && !text.includes("\n");
    return { text: line, tokens: seen.length - this.#prompt.length, cut };
  }

  [Symbol.dispose](): void {
    this.#owned[Symbol.dispose]();
  }
}
