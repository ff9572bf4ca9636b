/**
 * Lifetimes: tensors made inside a scope are disposed of at its end, unless kept. JavaScript has no destructors and
 * its garbage collector does not see device memory, so ownership is lexical:
 *
 *     using scope = engine.scope();
 *     const h = rmsNorm(engine, { x, g }, { eps });
 *     return scope.keep(h);                            // h now belongs to the enclosing scope, if there is one
 */
import type { Tensor } from "./tensor.ts";

export class Scope implements Disposable {
  readonly #parent: Scope | null;
  /** Each once. Few, and those asked for are mostly the last. */
  readonly #owned: Tensor[] = [];
  readonly #onEnd: () => void;

  constructor(parent: Scope | null, onEnd: () => void) {
    this.#parent = parent;
    this.#onEnd = onEnd;
  }

  /** Called by the engine for each tensor it makes. */
  adopt(tensor: Tensor): void {
    this.#owned.push(tensor);
  }

  /** Hands `tensor` to the enclosing scope; without one, it lives until its own dispose(). */
  keep<T extends Tensor>(tensor: T): T {
    if (this.#release(tensor)) this.#parent?.adopt(tensor);
    return tensor;
  }

  /** Takes `tensor` out of every scope: its owner must dispose of it. */
  detach<T extends Tensor>(tensor: T): T {
    this.#release(tensor);
    this.#parent?.detach(tensor);
    return tensor;
  }

  [Symbol.dispose](): void {
    for (const tensor of this.#owned) tensor.dispose();
    this.#owned.length = 0;
    this.#onEnd();
  }

  #release(tensor: Tensor): boolean {
    const at = this.#owned.lastIndexOf(tensor);
    if (at >= 0) this.#owned.splice(at, 1);
    return at >= 0;
  }
}
