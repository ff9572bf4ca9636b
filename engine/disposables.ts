/**
 * DisposableStack, which Node 20 and 22 lack. A constructor puts what it makes on a stack, which disposes of it, newest first,
 * when the constructor fails; when it succeeds, the stack is moved to the new object. https://github.com/tc39/proposal-explicit-resource-management
 */
class Stack implements Disposable {
  #undo: (() => void)[] = [];

  use<T extends Disposable>(made: T): T {
    this.#undo.push(() => made[Symbol.dispose]());
    return made;
  }

  defer(undo: () => void): void {
    this.#undo.push(undo);
  }

  /** A new stack of everything in this one, which is empty from then on. */
  move(): Stack {
    const moved = new Stack();
    moved.#undo = this.#undo;
    this.#undo = [];
    return moved;
  }

  [Symbol.dispose](): void {
    const failures: unknown[] = [];
    for (let undo = this.#undo.pop(); undo; undo = this.#undo.pop()) {
      try {
        undo();
      } catch (failure) {
        failures.push(failure);
      }
    }
    if (failures.length === 1) throw failures[0];
    if (failures.length > 1) throw new AggregateError(failures, "several things could not be disposed of");
  }
}

export { Stack as DisposableStack };
