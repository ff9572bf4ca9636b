/** The ids of a text that grows, and for each whether the session wrote it. */
export class GrowingText {
  #ids = new Int32Array(1024);
  #written = new Int32Array(1024);
  #length = 0;

  get length(): number {
    return this.#length;
  }

  /** Tokens [from, to); valid until the text grows. */
  ids(from = 0, to = this.#length): Int32Array {
    return this.#ids.subarray(from, Math.min(to, this.#length));
  }

  /** 1 for each token of [from, to) that was written, 0 for those that were given; valid until the text grows. */
  written(from = 0, to = this.#length): Int32Array {
    return this.#written.subarray(from, Math.min(to, this.#length));
  }

  /** The newest tokens of [0, to) that were written one after the other, at most `most`. */
  newest(most: number, to = this.#length): Int32Array {
    const from = Math.max(0, to - most);
    return this.ids(from + 1 + this.#written.subarray(from, to).lastIndexOf(0), to);
  }

  append(ids: ArrayLike<number>, written: 0 | 1): void {
    const length = this.#length + ids.length;
    if (length > this.#ids.length) {
      this.#ids = grown(this.#ids, length);
      this.#written = grown(this.#written, length);
    }
    this.#ids.set(ids, this.#length);
    this.#written.fill(written, this.#length, length);
    this.#length = length;
  }

  /** Becomes what a snapshot holds. */
  restore(ids: Int32Array, written: Int32Array): void {
    this.#ids = Int32Array.from(ids);
    this.#written = Int32Array.from(written);
    this.#length = ids.length;
  }
}

function grown(array: Int32Array<ArrayBuffer>, length: number): Int32Array<ArrayBuffer> {
  const larger = new Int32Array(Math.max(length, 2 * array.length));
  larger.set(array);
  return larger;
}
