/**
 * Holds what is learnt near the frozen model: `kl` times KL(frozen ‖ adapted) of each learnt token is added to its loss, of all of the
 * vocabulary's probabilities and not of the one that came. The frozen model reads the same tokens, behind keys of its own where the context is
 * constant, once for all steps on a chunk.
 */
import { DisposableStack } from "../engine/disposables.ts";
import { add } from "../engine/ops/index.ts";
import type { Task } from "../engine/task.ts";
import type { Tensor } from "../engine/tensor.ts";
import type { KVCache } from "../model/kv_cache.ts";
import type { Llama } from "../model/llama.ts";
import type { Sequence } from "./chunks.ts";
import { type ContextOptions, type ContextSnapshot, FrozenContext } from "./context.ts";
import { states } from "./scoring.ts";

export class Anchor implements Disposable {
  readonly #task: Task;
  readonly #model: Llama;
  readonly #weight: number;
  readonly #frozen: FrozenContext | null;
  /** The frozen model's hidden states of what the chunk's steps have read so far. */
  readonly #known = new Map<Sequence, Tensor>();
  /** Holds the chunk's context, once that is read. */
  #cache: KVCache | null = null;
  readonly #owned: DisposableStack;

  /** `context`: null where a context is no constant, and is read with the chunk. */
  constructor(task: Task, model: Llama, weight: number, context: ContextOptions | null) {
    using stack = new DisposableStack();
    this.#task = task;
    this.#model = model;
    this.#weight = weight;
    this.#frozen = context && stack.use(new FrozenContext(task, model, context));
    stack.defer(() => this.forget());
    this.#owned = stack.move();
  }

  /**
   * The frozen model's hidden states [targets, D] that predict the targets of `part`. `chunk`: what that is a part of, behind a context
   * that may be constant; null: it stands alone.
   */
  read(part: Sequence, chunk: Sequence | null): Tensor {
    const known = this.#known.get(part);
    if (known) return known;
    const cache = chunk && (this.#cache ??= this.#frozen?.prepare(chunk, null) ?? null);
    const hidden = states(this.#task, this.#model, part, cache, { adapter: null }).alias();
    this.#known.set(part, hidden);
    return hidden;
  }

  /** nll [T] of tokens, with their divergences added; `hidden` are the adapted model's states, `frozen` the other's. */
  add(nll: Tensor, hidden: Tensor, frozen: Tensor): Tensor {
    return add(nll, this.#model.divergence(hidden, frozen), { alpha: this.#weight });
  }

  /** To be called after a chunk. */
  forget(): void {
    for (const hidden of this.#known.values()) hidden.dispose();
    this.#known.clear();
    this.#cache = null;
  }

  async snapshot(): Promise<ContextSnapshot | null> {
    return (await this.#frozen?.snapshot()) ?? null;
  }

  restore(snapshot: ContextSnapshot | null): void {
    this.forget();
    this.#frozen?.restore(snapshot, 0);
  }

  [Symbol.dispose](): void {
    this.#owned[Symbol.dispose]();
  }
}
