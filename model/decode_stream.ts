/** From token ids to text, as they come. */
import type { CheckedTokenizer } from "./tokenizer_json.ts";

/** Turns token ids into text that is final: bytes of an unfinished character wait for the rest. */
export class DecodeStream {
  readonly #piece: CheckedTokenizer["piece"];
  readonly #decoder = new TextDecoder("utf-8", { ignoreBOM: true });
  #strip: boolean;

  constructor(piece: CheckedTokenizer["piece"], stripFirstSpace: boolean) {
    this.#piece = piece;
    this.#strip = stripFirstSpace;
  }

  /** The text that `id` completes, often empty inside a character of several tokens. */
  push(id: number): string {
    let bytes = this.#piece(id) ?? new Uint8Array(0);
    if (this.#strip && bytes.length > 0) {
      if (bytes[0] === 0x20) bytes = bytes.subarray(1);
      this.#strip = false;
    }
    return this.#decoder.decode(bytes, { stream: true });
  }

  /** Whatever was held back, as U+FFFD; the stream begins anew. */
  end(): string {
    return this.#decoder.decode();
  }
}
