/**
 * Text to token ids and back, in tokenizer.json's terms; gguf_tokenizer.ts brings GGUF metadata into them. A text is searched for added
 * tokens (added_tokens.ts), what is between is made normal and split into words (words.ts), and each word's letters are joined to
 * tokens (bpe.ts), once for each word. The ids are those of the tokenizers library. Long texts are cut into pieces where that
 * changes nothing, so that they can be read from a stream. Decoding is a table of bytes: text comes token by token and never
 * breaks inside a character.
 *
 * Our own, since @huggingface/tokenizers 0.2.0 cannot be held from outside to what a book takes: its time is quadratic in a word's
 * length and blocks the event loop meanwhile, it knows no streams, and where its regular expressions are not those of the original
 * library it gives other ids without a word. bench/tokenizer.bench.ts measures both; the tests hold ours to the original (test/golden/make_tokenizers.py).
 */
import { at } from "../kernels/base/at.ts";
import { BadInputError } from "../engine/errors.ts";
import { STEPS, type Steps, Turns } from "../engine/turns.ts";
import { renderChat } from "./chat_template.ts";
import { DecodeStream } from "./decode_stream.ts";
import { endTokensBySpelling } from "./end_tokens.ts";
import { IdList } from "./id_list.ts";
import { inByteLetters } from "./pieces.ts";
import { checkTokenizer, type CheckedTokenizer, type Model } from "./tokenizer_json.ts";
import { quote } from "./untrusted.ts";
import type { Place } from "./words.ts";

export interface Message {
  readonly role: string;
  readonly content: string;
}

/** What a tokenizer needs beside tokenizer.json. */
export interface TokenizerSettings {
  readonly bosId: number | null;
  /** what the model's files call ends of a text */
  readonly eosIds: readonly number[];
  /** How the files spell bos_token, eos_token and others; left out, those two are spelled as the ids are. */
  readonly specialTokens?: Readonly<Record<string, string>>;
  /** Jinja, as in tokenizer_config.json */
  readonly chatTemplate: string | undefined;
  /** the file with the template, for errors; left out: `source` */
  readonly templateSource?: string | undefined;
  /** the file, for errors */
  readonly source: string;
}

/** How a text is encoded. */
export interface EncodeOptions {
  /** Put the model's own tokens around it (default true), as transformers' add_special_tokens does. */
  readonly special?: boolean;
  /**
   * Where the text spells special tokens, they are those tokens (default false: they are text like any other). transformers does
   * so unless it is told `split_special_tokens`.
   */
  readonly parseSpecial?: boolean;
}

export interface EncodePartsOptions extends EncodeOptions {
  /** Stop after this many tokens. */
  readonly most?: number;
  /** Called often; what it throws ends the work. */
  readonly onTurn?: () => void;
  /** Characters that a piece has at least, before the text is cut. */
  readonly piece?: number;
}

/** How a conversation is encoded. */
export interface ChatOptions extends Pick<EncodeOptions, "parseSpecial"> {
  readonly addGenerationPrompt?: boolean;
}

/** Words longer than this are not kept: they hardly come twice. */
const LONGEST_KEPT = 64;
const MOST_KEPT = 200_000;
const PIECE = 2 ** 16;
/** Characters among which there must be a place to cut; a word so long takes a minute and a gigabyte. */
const MOST_HELD = 2 ** 24;
/** Characters that must be known on both sides of a cut: as many as most added tokens have. */
const AROUND = 512;

/**
 * A letter or digit, what may be cut off behind it, and the letter or digit after that; see word_patterns.ts. Neither begins with
 * white space, which an added token behind it might take.
 */
const KINDS = /(?<=([\p{L}\p{N}]))(?=((?!['’])[ \n\p{P}])[\p{L}\p{N}])/gu;
const PAIRS = /(?<=(\P{White_Space}))(?=([ \n\p{P}]))/gu;

const BEGIN: Place = { first: true, continued: false };
/** Behind an added token. */
const AFTER: Place = { first: false, continued: false };
const INSIDE: Place = { first: false, continued: true };
const NONE: readonly number[] = [];

export class Tokenizer {
  readonly bosId: number | null;
  /** any of these ends a text */
  readonly eosIds: readonly number[];
  /** every id is below this; a model's vocabulary may be padded beyond it */
  readonly vocabSize: number;
  readonly #source: string;
  readonly #settings: TokenizerSettings;
  readonly #checked: CheckedTokenizer;
  /** Ids of words that were merged before. */
  readonly #known = new Map<string, readonly number[]>();
  readonly #neighbours: Neighbours;

  /** `json` is the parsed tokenizer.json. */
  static *from(json: unknown, settings: TokenizerSettings): Steps<Tokenizer> {
    const checked = yield* checkTokenizer(json, settings.source);
    return new Tokenizer(checked, yield* neighboursIn(checked), settings);
  }

  private constructor(checked: CheckedTokenizer, neighbours: Neighbours, settings: TokenizerSettings) {
    this.#source = settings.source;
    this.bosId = settings.bosId;
    this.#settings = settings;
    this.#checked = checked;
    this.vocabSize = checked.size;
    this.#neighbours = neighbours;
    const { added, special, model } = this.#checked;
    const { eosIds, specialTokens: { eos_token: eosToken = "" } = {} } = settings;
    const named = added.get(eosToken) ?? model.vocab.get(eosToken);
    const ends = [...eosIds, ...(named === undefined ? [] : [named]), ...endTokensBySpelling(added, special)];
    this.eosIds = [...new Set(ends)];
  }

  /** Token ids of a text. */
  encode(text: string, { special = true, parseSpecial = false }: EncodeOptions = {}): number[] {
    const { prefix, suffix } = this.#checked;
    const ids: number[] = special ? [...prefix] : [];
    for (const some of this.#encodePiece(text, BEGIN, parseSpecial)) for (const id of some) ids.push(id);
    if (special) ids.push(...suffix);
    return ids;
  }

  /** The same of a text that comes in parts. Between pieces of work the event loop has its turn. */
  async encodeParts(
    parts: AsyncIterable<string> | Iterable<string>,
    {
      special = true,
      parseSpecial = false,
      most = Infinity,
      onTurn = () => undefined,
      piece: least = PIECE,
    }: EncodePartsOptions = {},
  ): Promise<Int32Array<ArrayBuffer>> {
    const { prefix, suffix } = this.#checked;
    const ids = new IdList(most);
    if (special) ids.add(prefix);
    const turns = new Turns(onTurn);
    for await (const [piece, place] of this.#pieces(parts, least)) {
      await turns.run(this.#addPiece(ids, piece, place, parseSpecial));
      if (ids.full) return ids.take();
    }
    if (special) ids.add(suffix);
    return ids.take();
  }

  *#addPiece(ids: IdList, piece: string, place: Place, parseSpecial: boolean): Steps<void> {
    for (const some of this.#encodePiece(piece, place, parseSpecial)) {
      ids.add(some);
      if (ids.full) return;
      yield;
    }
  }

  /** Ids of a piece of text, a few at a time. */
  *#encodePiece(text: string, start: Place, parseSpecial: boolean): Generator<readonly number[]> {
    for (const section of this.#sections(text, start, parseSpecial))
      if (typeof section === "number") yield [section];
      else for (const word of this.#checked.preTokenizer.words(...section)) yield* this.#encodeWord(word);
  }

  /** Ids of added tokens, and the text between them, made normal, with its place. */
  *#sections(text: string, start: Place, parseSpecial: boolean): Generator<number | [string, Place]> {
    const { inText, inNormal, normal } = this.#checked;
    let place = start;
    for (const section of inText.sections(text, parseSpecial)) {
      if (typeof section === "number") yield section;
      else
        for (const part of inNormal.sections(normal(section, place), parseSpecial)) {
          yield typeof part === "number" ? part : [part, place];
          place = AFTER;
        }
      place = AFTER;
    }
  }

  *#encodeWord(word: string): Generator<readonly number[]> {
    const { wordBreak } = this.#neighbours;
    for (const part of wordBreak ? word.split(wordBreak) : [word]) {
      const known = this.#known.get(part);
      if (known) {
        yield known;
        continue;
      }
      const work = this.#joined(part);
      let step = work.next();
      for (; step.done !== true; step = work.next()) yield NONE;
      yield step.value;
      if (part.length > LONGEST_KEPT) continue;
      if (this.#known.size >= MOST_KEPT) this.#known.clear();
      this.#known.set([...part].join(""), step.value); // a copy: a slice would hold all of the text
    }
  }

  *#joined(word: string): Steps<readonly number[]> {
    return yield* this.#checked.model.merges.join(yield* this.#letters(word));
  }

  /** The ids of a word's letters, or the word's own id where that is all it takes. */
  *#letters(word: string): Steps<number[]> {
    const { preTokenizer, model } = this.#checked;
    const { vocab, ignoreMerges, byteIds, unknown, fusesUnknown } = model;
    const letters = preTokenizer.bytes ? inByteLetters(word) : word;
    const whole = ignoreMerges ? vocab.get(letters) : undefined;
    if (whole !== undefined) return [whole];
    const ids: number[] = [];
    let wasUnknown = false;
    for (const letter of letters) {
      if (ids.length % STEPS === STEPS - 1) yield;
      const id = vocab.get(letter);
      const isUnknown = id === undefined && byteIds === null;
      if (id !== undefined) ids.push(id);
      else if (byteIds) for (const byte of new TextEncoder().encode(letter)) ids.push(at(byteIds, byte));
      else if (unknown !== null && !(fusesUnknown && wasUnknown)) ids.push(unknown);
      wasUnknown = isUnknown;
    }
    return ids;
  }

  /** Cuts a text into pieces that have, one by one, the ids of the whole. */
  async *#pieces(
    parts: AsyncIterable<string> | Iterable<string>,
    least: number,
  ): AsyncGenerator<[string, Place]> {
    let [held, length, tail, place] = [[] as string[], 0, "", BEGIN];
    for await (const part of parts)
      for (let start = 0; start < part.length; start += least) {
        const some = part.slice(start, start + least);
        held.push(some);
        length += some.length;
        tail = (tail + some).slice(-8 * AROUND);
        const behind = length < least ? 0 : tail.length - this.#lastCut(tail);
        if (behind === 0 && length > MOST_HELD)
          throw new BadInputError(
            `${MOST_HELD} characters without a place between words where the tokenizer can cut them; is this a text?`,
          );
        if (behind === 0) continue;
        const text = held.join("");
        yield [text.slice(0, -behind), place];
        [held, length, place] = [[text.slice(-behind)], behind, INSIDE];
      }
    yield [held.join(""), place];
  }

  /** The last place where a text that ends like this can be cut, though it goes on on both sides; the end if there is none. */
  #lastCut(text: string): number {
    const { anyAdded, normal, preTokenizer, model } = this.#checked;
    const { cuts } = preTokenizer;
    const seen = (character: string): string =>
      [...preTokenizer.words(normal(character, INSIDE), INSIDE)].join("");
    let last = text.length;
    if (cuts !== "none")
      for (const { 1: left = "", 2: right = "", index } of text.matchAll(cuts === "kinds" ? KINDS : PAIRS)) {
        const cut = index;
        if (cut < AROUND || cut > text.length - AROUND) continue;
        const [a, b] = [seen(left), seen(right)];
        if (cuts === "kinds" ? a !== left : this.#neighbours.joined.has(a + b)) continue;
        if (cuts === "pairs" && mayFuse(model, b)) continue;
        if (!anyAdded.near(text, cut)) last = cut;
      }
    return last;
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
    return new DecodeStream(this.#checked.piece, this.#checked.stripsFirstSpace && !continued);
  }

  get hasChatTemplate(): boolean {
    return this.#settings.chatTemplate !== undefined;
  }

  /**
   * A conversation as the model was trained to see it; `addGenerationPrompt` opens the answer. Messages that spell special tokens
   * could end their turn and begin another's: they are refused unless `parseSpecial`.
   */
  chat(
    messages: readonly Message[],
    { addGenerationPrompt = true, parseSpecial = false }: ChatOptions = {},
  ): number[] {
    const { anyAdded, special } = this.#checked;
    for (const { content } of parseSpecial ? [] : messages)
      // as it is spelled, since what is before it in the conversation may change its normal form, and as it is found in a text
      for (const section of [...anyAdded.sections(content, true), ...this.#sections(content, INSIDE, true)])
        if (typeof section === "number" && special.has(section))
          throw new BadInputError(
            `a message spells the special token ${quote(this.decode([section]))}, which would be that token in the conversation; remove it, or allow it (parseSpecial, --special)`,
          );
    return this.encode(this.chatText(messages, { addGenerationPrompt }), {
      special: false,
      parseSpecial: true,
    });
  }

  /** The text that `chat` encodes. */
  chatText(messages: readonly Message[], { addGenerationPrompt = true } = {}): string {
    const { chatTemplate, templateSource = this.#source, specialTokens = {} } = this.#settings;
    if (chatTemplate === undefined)
      throw new BadInputError(`${this.#source}: this model has no chat template; give it a plain prompt`);
    const spelled = (id: number | null | undefined): string =>
      id === null || id === undefined ? "" : this.stream({ continued: true }).push(id);
    try {
      return renderChat(chatTemplate, {
        messages,
        add_generation_prompt: addGenerationPrompt,
        ...{ bos_token: spelled(this.bosId), eos_token: spelled(this.eosIds[0]) },
        ...specialTokens,
      });
    } catch (error) {
      const why = quote(error instanceof Error ? error.message : String(error));
      throw new BadInputError(`${templateSource}: the chat template fails on these messages: ${why}`);
    }
  }
}

/** What a tokenizer without words knows of its tokens. */
interface Neighbours {
  /** Characters and the space or mark behind them that are together in some token. */
  readonly joined: ReadonlySet<string>;
  /** Where a text can be cut before spaces, since no token has such a place inside. */
  readonly wordBreak: RegExp | undefined;
}

function* neighboursIn({ preTokenizer, model }: CheckedTokenizer): Steps<Neighbours> {
  const joined = new Set<string>();
  if (preTokenizer.cuts !== "pairs" || mayFuse(model, "▁")) return { joined, wordBreak: undefined };
  for (const token of model.vocab.keys()) {
    for (const { 1: left = "", 2: right = "" } of token.matchAll(/(?<=([^]))(?=([▁\n\p{P}]))/gu))
      joined.add(left + right);
    yield;
  }
  const before = [...joined]
    .filter((pair) => pair.endsWith("▁"))
    .map((pair) => `\\u{${pair.codePointAt(0)?.toString(16)}}`);
  return { joined, wordBreak: new RegExp(`(?<=[^▁${before.join("")}])(?=▁)`, "u") };
}

/** Whether this character may become one unknown token together with the one before it, or may vanish and join its neighbours. */
const mayFuse = ({ byteIds, unknown, vocab }: Model, character: string): boolean =>
  byteIds === null && (unknown === null || !vocab.has(character));
