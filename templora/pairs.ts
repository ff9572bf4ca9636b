/**
 * Sentence pairs in the file format of the paper's translation data: a JSON list of
 * `{"contexts": {"k1": [{"zh", "en"} …], "k3": […]}, "inference": [{"zh", "en"} …]}`. An entry is a block: the pairs that are translated
 * one after the other, and those before them that a prompt begins with.
 */
import { BadInputError } from "../engine/errors.ts";
import { asArray, asObject, asString, plain, some } from "../model/untrusted.ts";

export interface Pair {
  readonly source: string;
  readonly target: string;
}

export interface Block {
  /** Pairs of earlier blocks. */
  readonly context: readonly Pair[];
  readonly pairs: readonly Pair[];
}

/** Which of an entry's contexts is read: that of one block, of three, or none. */
export const contexts = ["k1", "k3", "none"] as const;

export interface PairOptions {
  /** The key of a pair's source line, and that of its translation. */
  readonly src: string;
  readonly tgt: string;
  readonly context: (typeof contexts)[number];
  /** Pairs to read at most. */
  readonly most?: number;
}

/** The blocks of a parsed file; throws BadInputError, which names the entry. `file`: for errors. */
export function blocksOf(
  json: unknown,
  file: string,
  { src, tgt, context, most = Infinity }: PairOptions,
): Block[] {
  const line = (pair: Readonly<Record<string, unknown>>, key: string, where: string): string => {
    if (!Object.hasOwn(pair, key))
      throw new BadInputError(
        `${where}: no ${plain(key)} in it; it has ${some(Object.keys(pair).map(plain)) || "nothing"}: name the keys of a line and of its translation (--src, --tgt)`,
      );
    const text = asString(pair[key], `${where}, ${plain(key)}`);
    if (text.trim() === "" || /[\n\r]/.test(text))
      throw new BadInputError(
        `${where}, ${plain(key)}: expected one line of text, got ${text.trim() === "" ? "an empty one" : "several"}`,
      );
    return text;
  };
  const pairsIn = (value: unknown, where: string): Pair[] =>
    asArray(value, where).map((item, i) => {
      const pair = asObject(item, `${where}[${i}]`);
      return { source: line(pair, src, `${where}[${i}]`), target: line(pair, tgt, `${where}[${i}]`) };
    });
  const blocks: Block[] = [];
  let left = most;
  for (const [i, item] of asArray(json, file).entries()) {
    if (left <= 0) break;
    const entry = asObject(item, `${file}: entry ${i}`);
    if (entry["inference"] === undefined)
      throw new BadInputError(
        `${file}: entry ${i}: no inference in it; pairs have the form [{"contexts": {"${context}": […]}, "inference": [{"${src}": "…", "${tgt}": "…"}, …]}, …]`,
      );
    const pairs = pairsIn(entry["inference"], `${file}: entry ${i}, inference`).slice(0, left);
    if (context !== "none" && entry["contexts"] === undefined)
      throw new BadInputError(`${file}: entry ${i}: no contexts in it; without any, give --context none`);
    const before =
      context === "none" ? [] : asObject(entry["contexts"], `${file}: entry ${i}, contexts`)[context];
    if (pairs.length === 0) continue;
    blocks.push({ context: pairsIn(before, `${file}: entry ${i}, contexts.${context}`), pairs });
    left -= pairs.length;
  }
  if (blocks.length === 0) throw new BadInputError(`${file}: no pairs in it`);
  return blocks;
}
