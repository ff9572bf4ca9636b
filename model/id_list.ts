/** Token ids that become more: at most as many as are wanted. */
export class IdList {
  readonly #most: number;
  #ids = new Int32Array(1024);
  #length = 0;

  constructor(most: number) {
    this.#most = most;
  }

  get full(): boolean {
    return this.#length >= this.#most;
  }

  add(ids: readonly number[]): void {
    if (this.#length + ids.length > this.#ids.length) {
      const more = new Int32Array(2 * (this.#length + ids.length));
      more.set(this.#ids);
      this.#ids = more;
    }
    this.#ids.set(ids, this.#length);
    this.#length += ids.length;
  }

  take(): Int32Array<ArrayBuffer> {
    return this.#ids.slice(0, Math.min(this.#length, this.#most));
  }
}
