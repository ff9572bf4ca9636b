/**
 * Reading through a cache, one token after another: each takes the same kernels over the same memory as the one before it, but
 * for its id and its place. The first single token goes through the forward pass, which is captured; those after it replay that.
 */
import { DisposableStack } from "../engine/disposables.ts";
import type { Replay } from "../engine/replay.ts";
import type { Task } from "../engine/task.ts";
import type { Tensor } from "../engine/tensor.ts";
import type { KVCache } from "./kv_cache.ts";
import type { LinearAdapter, Llama } from "./llama.ts";

/** A captured step, and what it holds for. */
interface Step {
  readonly hidden: Tensor;
  readonly replay: Replay;
  readonly positions: number;
}

export class Decoder implements Disposable {
  readonly #task: Task;
  readonly #model: Llama;
  readonly #cache: KVCache;
  readonly #adapter: LinearAdapter | null;
  readonly #id: Tensor;
  readonly #position: Tensor;
  /** A replay changes one position; towards far keys, a query has another. */
  readonly #replays: boolean;
  readonly #owned: DisposableStack;
  #step: Step | null = null;

  /** Reads through `cache` and `adapter`, which outlive it; the adapter's values may change meanwhile. */
  constructor(task: Task, model: Llama, cache: KVCache, adapter: LinearAdapter | null) {
    using stack = new DisposableStack();
    this.#task = task;
    this.#model = model;
    this.#cache = cache;
    this.#adapter = adapter;
    this.#replays = !cache.unrotated && model.config.layers.every(({ far }) => !far);
    this.#id = stack.use(task.lasting([1], "i32", "id"));
    this.#position = stack.use(task.lasting([1], "i32", "position"));
    stack.defer(() => this.#forget());
    this.#owned = stack.move();
  }

  /** Final hidden state [1, D] of the last of `ids`, the tokens after those in the cache; valid until the next call. */
  read(ids: Int32Array): Tensor {
    const model = this.#model;
    if (ids.length === 1 && this.#replays) return this.#next(ids);
    using scope = this.#task.scope();
    const pass = { adapter: this.#adapter, cache: this.#cache, from: ids.length - 1 };
    return scope.keep(model.forward(model.ids(this.#task, ids), pass));
  }

  #next(id: Int32Array): Tensor {
    const [task, model, cache, adapter] = [this.#task, this.#model, this.#cache, this.#adapter];
    const position = cache.position + cache.length;
    model.assertIds(id);
    model.reserve(position + 1);
    task.device.write(this.#id.view, id);
    task.device.write(this.#position.view, Int32Array.of(position));
    let step = this.#step;
    if (step?.positions === model.positions) {
      cache.begin(adapter?.revision ?? 0);
      const at = cache.append(1);
      step.replay.run({ rope_cache: { at }, attention: { past: at } });
      return step.hidden;
    }
    this.#forget();
    using scope = task.scope();
    const { result, replay } = task.capture(() =>
      model.forward(this.#id, { adapter, cache, positions: this.#position }),
    );
    step = { hidden: scope.detach(result), replay, positions: model.positions };
    this.#step = step;
    return step.hidden;
  }

  #forget(): void {
    this.#step?.hidden.dispose();
    this.#step?.replay.dispose();
    this.#step = null;
  }

  dispose(): void {
    this.#owned[Symbol.dispose]();
  }

  [Symbol.dispose](): void {
    this.dispose();
  }
}
