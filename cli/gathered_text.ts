/** A long text that comes in small pieces, in as many bytes as it has: a string that grows by pieces keeps an object for each. */
const BLOCK = 4096;

export class GatheredText {
  readonly #blocks: Buffer[] = [];
  #newest = "";

  /** `piece` ends with a whole character. */
  add(piece: string): void {
    this.#newest += piece;
    if (this.#newest.length < BLOCK) return;
    this.#blocks.push(Buffer.from(this.#newest));
    this.#newest = "";
  }

  get whole(): string {
    return Buffer.concat([...this.#blocks, Buffer.from(this.#newest)]).toString();
  }
}
