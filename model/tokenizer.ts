/**
 * Text to token ids and back. @huggingface/tokenizers does normalising, splitting and BPE merges; here are the checks on
 * what it is handed, the cache that makes a book take seconds, decoding through a table of bytes (so that text can be
 * streamed token by token and never breaks inside a character), and chat templates. Everything is in tokenizer.json's
 * terms; gguf_tokenizer.ts brings GGUF metadata into them.
 */
import { Template } from "@huggingface/jinja";
import { BadInputError } from "../engine/errors.ts";
import { endTokensBySpelling } from "./end_tokens.ts";
import { LibraryTokenizer } from "./hf_tokenizers.ts";
import { checkTokenizer, type CheckedTokenizer } from "./tokenizer_json.ts";
import { quote } from "./untrusted.ts";

export interface Message {
  readonly role: string;
  readonly content: string;
}

/** What a tokenizer needs beside tokenizer.json. */
export interface TokenizerSettings {
  readonly bosId: number | null;
  /** what the model's files call ends of a text */
  readonly eosIds: readonly number[];
  /** how the files spell begin and end of text; left out, they are spelled as the ids are */
  readonly bosToken?: string | undefined;
  readonly eosToken?: string | undefined;
  /** Jinja, as in tokenizer_config.json */
  readonly chatTemplate: string | undefined;
  /** the file, for errors */
  readonly source: string;
}

/** Words longer than this are not cached: they hardly come twice. */
const LONGEST_CACHED = 64;
const MOST_CACHED = 200_000;

function missing(token: string): never {
  throw new Error(`the post-processor's ${quote(token)} is not in the vocabulary`);
}

export class Tokenizer {
  readonly bosId: number | null;
  /** any of these ends a text */
  readonly eosIds: readonly number[];
  /** every id is below this; a model's vocabulary may be padded beyond it */
  readonly vocabSize: number;
  readonly #source: string;
  readonly #settings: TokenizerSettings;
  readonly #library: LibraryTokenizer;
  readonly #checked: CheckedTokenizer;
  readonly #cache = new Map<string, readonly number[]>();
  /** ids put around every text (Llama's begin of text) */
  readonly #prefix: readonly number[];
  readonly #suffix: readonly number[];

  /** `json` is the parsed tokenizer.json. */
  constructor(json: unknown, settings: TokenizerSettings) {
    this.#source = settings.source;
    this.bosId = settings.bosId;
    this.#settings = settings;
    this.#checked = checkTokenizer(json, settings.source);
    this.vocabSize = this.#checked.pieces.length;
    try {
      this.#library = new LibraryTokenizer(this.#checked.json, {});
      const text = "\0text";
      const around = this.#library.post_processor?.post_process([text], null, true).tokens ?? [text];
      const ids = (tokens: readonly string[]): number[] =>
        tokens.map((token) => this.#library.token_to_id(token) ?? missing(token));
      this.#prefix = ids(around.slice(0, around.indexOf(text)));
      this.#suffix = ids(around.slice(around.indexOf(text) + 1));
      const { added, special } = this.#checked;
      const named =
        settings.eosToken === undefined ? undefined : this.#library.token_to_id(settings.eosToken);
      const ends = [
        ...settings.eosIds,
        ...(named === undefined ? [] : [named]),
        ...endTokensBySpelling(added, special),
      ];
      this.eosIds = [...new Set(ends)];
    } catch (error) {
      throw new BadInputError(
        `${settings.source}: this tokenizer cannot be used (${error instanceof Error ? error.message : String(error)})`,
      );
    }
  }

  /**
   * Token ids of a text. `special` (default true) puts the model's own tokens around it, as transformers'
   * add_special_tokens does. Special tokens spelled out in the text become their ids in either case.
   */
  encode(text: string, { special = true }: { readonly special?: boolean } = {}): number[] {
    const ids: number[] = special ? [...this.#prefix] : [];
    const { separator, wordBreak } = this.#checked;
    if (separator === undefined) {
      // added tokens with rules of their own: the library knows them, at the price of its smaller cache
      for (const id of this.#library.encode(text, { add_special_tokens: false }).ids) ids.push(id);
    } else {
      const sections = text.split(separator).filter((section) => section !== "");
      sections.forEach((section, section_index) => {
        const added = this.#checked.added.get(section);
        if (added !== undefined) ids.push(added);
        else this.#encodeSection(section, section_index, wordBreak, ids);
      });
    }
    if (special) for (const id of this.#suffix) ids.push(id);
    return ids;
  }

  /** Text without added tokens: normalise, split into words, merge each word once. */
  #encodeSection(section: string, section_index: number, wordBreak: RegExp | undefined, ids: number[]): void {
    const { normalizer, pre_tokenizer } = this.#library;
    const normal = normalizer ? normalizer.normalize(section) : section;
    let words = pre_tokenizer ? pre_tokenizer.pre_tokenize(normal, { section_index }) : [normal];
    if (wordBreak) words = words.flatMap((word) => word.split(wordBreak));
    for (const word of words) for (const id of this.#encodeWord(word)) ids.push(id);
  }

  #encodeWord(word: string): readonly number[] {
    const known = this.#cache.get(word);
    if (known) return known;
    const tokens = this.#library.model.encode([word]);
    const ids = tokens.flatMap((token) => this.#library.token_to_id(token) ?? []);
    if (word.length <= LONGEST_CACHED) {
      if (this.#cache.size >= MOST_CACHED) this.#cache.clear();
      this.#cache.set(word, ids);
    }
    return ids;
  }

  /** The text of token ids. `special: false` leaves special tokens out. Broken UTF-8 becomes U+FFFD. */
  decode(ids: ArrayLike<number>, { special = true }: { readonly special?: boolean } = {}): string {
    const stream = this.stream();
    let text = "";
    for (const id of Array.from(ids)) if (special || !this.#checked.special.has(id)) text += stream.push(id);
    return text + stream.end();
  }

  /**
   * Decodes as ids come. `continued`: the text goes on behind a prompt, so that a sentencepiece model's first space is
   * kept.
   */
  stream({ continued = false }: { readonly continued?: boolean } = {}): DecodeStream {
    return new DecodeStream(this.#checked.pieces, this.#checked.stripsFirstSpace && !continued);
  }

  get hasChatTemplate(): boolean {
    return this.#settings.chatTemplate !== undefined;
  }

  /** A conversation as the model was trained to see it; `addGenerationPrompt` opens the answer. */
  chat(messages: readonly Message[], { addGenerationPrompt = true } = {}): number[] {
    return this.encode(this.chatText(messages, { addGenerationPrompt }), { special: false });
  }

  /** The text that `chat` encodes. */
  chatText(messages: readonly Message[], { addGenerationPrompt = true } = {}): string {
    const { chatTemplate, bosToken, eosToken } = this.#settings;
    if (chatTemplate === undefined)
      throw new BadInputError(`${this.#source}: this model has no chat template; give it a plain prompt`);
    const spelled = (id: number | null | undefined): string =>
      id === null || id === undefined ? "" : (this.#library.id_to_token(id) ?? "");
    try {
      return new Template(chatTemplate).render({
        messages,
        add_generation_prompt: addGenerationPrompt,
        bos_token: bosToken ?? spelled(this.bosId),
        eos_token: eosToken ?? spelled(this.eosIds[0]),
      });
    } catch (error) {
      const why = quote(error instanceof Error ? error.message : String(error));
      throw new BadInputError(`${this.#source}: its chat template does not take these messages: ${why}`);
    }
  }
}

/** Turns token ids into text that is final: bytes of an unfinished character wait for the rest. */
export class DecodeStream {
  readonly #pieces: readonly (Uint8Array | undefined)[];
  readonly #decoder = new TextDecoder("utf-8", { ignoreBOM: true });
  #strip: boolean;

  constructor(pieces: readonly (Uint8Array | undefined)[], stripFirstSpace: boolean) {
    this.#pieces = pieces;
    this.#strip = stripFirstSpace;
  }

  /** The text that `id` completes, often empty inside a character of several tokens. */
  push(id: number): string {
    let bytes = this.#pieces[id] ?? new Uint8Array(0);
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
