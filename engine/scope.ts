/**
 * Lifetimes: tensors made inside a scope are disposed of at its end, unless kept. JavaScript has no destructors and
 * its garbage collector does not see device memory, so ownership is lexical:
 *
 *     using scope = task.scope();
 *     const h = rmsNorm(x, g, { eps });
 *     return scope.keep(h);                            // h now belongs to the enclosing scope
 */
import type { Tensor } from "./tensor.ts";

export class Scope implements Disposable {
  readonly #parent: Scope | null;
  /** Each tensor once, in order of creation: there are few, and those looked for are mostly at the end. */
  readonly #owned: Tensor[] = [];
  readonly #end: (scope: Scope) => void;

  /** `end` is called with the scope before it frees anything, and throws where an inner one is still open. */
  constructor(parent: Scope | null, end: (scope: Scope) => void) {
    this.#parent = parent;
    this.#end = end;
  }

  get parent(): Scope | null {
    return this.#parent;
  }

  /** Called by the task for each tensor it makes. */
  adopt(tensor: Tensor): void {
    this.#owned.push(tensor);
  }

  /** Hands `tensor` to the enclosing scope; the outermost one, the task's own, keeps it. */
  keep<T extends Tensor>(tensor: T): T {
    if (this.#parent && this.#release(tensor)) this.#parent.adopt(tensor);
    return tensor;
  }

  /** Takes `tensor` out of every scope: the caller disposes of it. */
  detach<T extends Tensor>(tensor: T): T {
    if (!this.#release(tensor)) this.#parent?.detach(tensor);
    return tensor;
  }

  [Symbol.dispose](): void {
    this.#end(this);
    for (const tensor of this.#owned) tensor.dispose();
    this.#owned.length = 0;
  }

  #release(tensor: Tensor): boolean {
    const at = this.#owned.lastIndexOf(tensor);
    if (at >= 0) this.#owned.splice(at, 1);
    return at >= 0;
  }
}
