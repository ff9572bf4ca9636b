/**
 * Keys of a configuration, read by type and under their name in either kind of file. Files are not trusted: whatever is not of the
 * type asked for is one error that names the file and the key as the file spells it. What was asked for is remembered, so that
 * a key that nothing read can be refused (`refuseRest`): left alone, the model would compute something else in silence.
 */
import { BadInputError } from "../engine/errors.ts";
import { capRange } from "../kernels/shared/soft_cap.ts";
import { MAX_SIZE, asSize } from "./config.ts";
import { asArray, asBoolean, asInteger, asPositive, asPositiveF32, plain, show } from "./untrusted.ts";

/** A key's name in config.json, and in GGUF less the architecture before it; null = that kind of file does not have it. */
export type FieldName = readonly [json: string | null, gguf: string | null];

/** A key that a family does not read. */
export interface Unread {
  readonly name: FieldName;
  /** The values (of a list: the entries) that ask for nothing, beside null; "any": no number depends on it, whatever it says. */
  readonly nothing: readonly unknown[] | "any";
}

/** Where keys come from: a kind of file, or an object within one. */
export interface KeySource {
  /** A key's full name here; null = there is no such key. */
  nameOf(name: FieldName): string | null;
  /** Undefined where the key is not there. */
  lookUp(key: string): unknown;
  /** Every key that is there. */
  present(): Iterable<string>;
  /** The file and the key as it spells it, for messages. */
  spell(key: string): string;
  /** Whether a key of which nothing is known may be about what the model computes. */
  concerns(key: string): boolean;
}

export class Keys {
  readonly #source: KeySource;
  readonly #asked = new Map<string, FieldName>();

  constructor(source: KeySource) {
    this.#source = source;
  }

  /** What was asked for so far. */
  get asked(): readonly FieldName[] {
    return [...this.#asked.values()];
  }

  /** The value, undefined where it is not there or null (`off`), and its place for messages. */
  find(name: FieldName): { readonly value: unknown; readonly where: string; readonly off: boolean } {
    const key = this.#source.nameOf(name);
    if (key !== null) this.#asked.set(key, name);
    const value = key === null ? undefined : this.#source.lookUp(key);
    const where = this.#source.spell(key ?? name.find(Boolean) ?? "");
    return { value: value ?? undefined, where, off: value === null };
  }

  /** The key's value as `as` reads it; `otherwise` where it is not there or null. */
  get<T>(name: FieldName, otherwise: T | undefined, as: (value: unknown, where: string) => T): T {
    const { value, where } = this.find(name);
    return value === undefined && otherwise !== undefined ? otherwise : as(value, where);
  }

  /** A size or count of at least 1. */
  size(name: FieldName, otherwise?: number): number {
    return this.get(name, otherwise, asSize);
  }

  /** A number above 0. */
  positive(name: FieldName, otherwise?: number): number {
    return this.get(name, otherwise, asPositiveF32);
  }

  /** A factor of activations, far within what sums of squares in float32 hold. */
  multiplier(name: FieldName, otherwise: number): number {
    return this.get(name, otherwise, asMultiplier);
  }

  /** A window in tokens; null in the file turns it off, which is 0 here. */
  window(name: FieldName, otherwise: number | undefined): number {
    return this.find(name).off ? 0 : this.get(name, otherwise, asSize);
  }

  /** A soft cap; null in the file turns it off, which is 0 here. */
  cap(name: FieldName, otherwise: number): number {
    return this.find(name).off ? 0 : this.get(name, otherwise, asMultiplier);
  }

  /** A whole number of at least 0. */
  count(name: FieldName, otherwise: number): number {
    return this.get(name, otherwise, (value, where) => asInteger(value, where, 0, MAX_SIZE));
  }

  /** True or false. */
  flag(name: FieldName, otherwise = false): boolean {
    return this.get(name, otherwise, asBoolean);
  }

  /** The key's list, with an entry for each of `count` layers, or null where it is not there. */
  list(name: FieldName, count: number): readonly unknown[] | null {
    const { value, where } = this.find(name);
    if (value === undefined) return null;
    const list = asArray(value, where);
    if (list.length !== count)
      throw new BadInputError(`${where} has ${list.length} entries for ${count} layers`);
    return list;
  }

  /** Refuses a key that is there and is none of `values`; `runs`: what is supported, for the message. */
  only(name: FieldName, values: readonly unknown[], runs: string): void {
    const { value, where } = this.find(name);
    if (value !== undefined && !values.includes(value))
      throw new BadInputError(`${where} is ${show(value)}; templora runs ${runs}`);
  }

  /** Refuses what is there, was not asked for and may ask for something; `of`: whose keys they are, for the message. */
  refuseRest(of: string, unread: readonly Unread[]): void {
    const source = this.#source;
    const known = new Map(unread.map(({ name, nothing }) => [source.nameOf(name), nothing]));
    for (const key of source.present()) {
      if (this.#asked.has(key) || !(known.has(key) || source.concerns(key))) continue;
      const nothing = known.get(key) ?? [false];
      const value = source.lookUp(key);
      const entries: readonly unknown[] = Array.isArray(value) ? value : [value];
      if (nothing !== "any" && !entries.every((entry) => entry === null || nothing.includes(entry)))
        throw new BadInputError(
          `${source.spell(plain(key))} is ${show(value)}, of which ${of} knows nothing; left out, the model might compute something else`,
        );
    }
  }
}

function asMultiplier(value: unknown, where: string): number {
  const number = asPositive(value, where);
  const [least, most] = capRange();
  if (number < least || number > most)
    throw new BadInputError(`${where}: expected a number from 2^-40 to 2^40, got ${show(value)}`);
  return number;
}
