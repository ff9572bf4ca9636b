/**
 * Byte-pair encoding: of the neighbouring tokens that a listed merge joins, the first-listed pair is joined first, the leftmost of equal
 * ones, until none is left. As in the tokenizers library (tokenizers/src/models/bpe/word.rs), in n log n steps.
 */
import { at } from "../kernels/base/at.ts";
import { STEPS, type Steps } from "../engine/turns.ts";

/** A waiting merge is one number, rank · this + place. */
const PLACES = 2 ** 31;
/** More merges than any vocabulary has, few enough that such a number is exact. */
export const MOST_MERGES = 2 ** 22;

/** No token, no place, no rank. In arrays that are read millions of times it also stands for what is never there. */
const NOTHING = -1;

export class Merges {
  readonly #merges: Int32Array;
  readonly #ranks: PairTable;

  private constructor(merges: Int32Array) {
    this.#merges = merges;
    this.#ranks = new PairTable(merges.length / 3);
  }

  /** `merges`: ids of left, right and both together, one after the other; the first is the first to be joined. */
  static *from(merges: Int32Array): Steps<Merges> {
    const made = new Merges(merges);
    for (let rank = 0; 3 * rank < merges.length; rank++) {
      made.#ranks.set(at(merges, 3 * rank), at(merges, 3 * rank + 1), rank);
      if (rank % STEPS === 0) yield;
    }
    return made;
  }

  /** Joins all of `ids` that can be joined. */
  *join(ids: readonly number[]): Steps<number[]> {
    const tokens = Int32Array.from(ids); // NOTHING = joined to the one before it
    const next = new Int32Array(ids.length);
    const previous = new Int32Array(ids.length);
    for (let place = 0; place < ids.length; place++) {
      next[place] = place + 1 < ids.length ? place + 1 : NOTHING;
      previous[place] = place - 1;
    }
    const waiting = new Heap();
    const rankAt = (place: number): number => {
      const right = next[place] ?? NOTHING;
      return right < 0 ? NOTHING : this.#ranks.get(tokens[place] ?? NOTHING, tokens[right] ?? NOTHING);
    };
    const offer = (place: number): void => {
      const rank = rankAt(place);
      if (rank >= 0) waiting.push(rank * PLACES + place);
    };
    for (let place = 0; place < ids.length; place++) {
      offer(place);
      if (place % STEPS === STEPS - 1) yield;
    }
    for (let steps = 1; ; steps++) {
      const merge = waiting.pop();
      if (merge === undefined) break;
      if (steps % STEPS === 0) yield;
      const rank = Math.floor(merge / PLACES);
      const place = merge - rank * PLACES; // % would take most of the time
      if (rankAt(place) !== rank) continue; // its tokens have been joined to others since
      const right = next[place] ?? NOTHING;
      const after = next[right] ?? NOTHING;
      tokens[place] = this.#merges[3 * rank + 2] ?? NOTHING;
      tokens[right] = NOTHING;
      next[place] = after;
      if (after >= 0) previous[after] = place;
      const before = previous[place] ?? NOTHING;
      if (before >= 0) offer(before);
      offer(place);
    }
    return Array.from(tokens.filter((id) => id >= 0));
  }
}

/** A map from pairs of ids to numbers: open addressing, a third of the memory of a Map and several times as fast. */
class PairTable {
  readonly #mask: number;
  /** left, right and value of each slot; NOTHING = free */
  readonly #slots: Int32Array;

  constructor(most: number) {
    this.#mask = 2 ** Math.ceil(Math.log2(2 * most + 2)) - 1;
    this.#slots = new Int32Array(3 * (this.#mask + 1)).fill(NOTHING);
  }

  #slot(left: number, right: number): number {
    const hash = Math.imul(left, 0x9e3779b1) ^ Math.imul(right, 0x85ebca6b);
    for (let i = (hash ^ (hash >>> 15)) & this.#mask; ; i = (i + 1) & this.#mask) {
      const found = this.#slots[3 * i];
      if (found === NOTHING || (found === left && this.#slots[3 * i + 1] === right)) return 3 * i;
    }
  }

  set(left: number, right: number, value: number): void {
    const slot = this.#slot(left, right);
    this.#slots[slot] = left;
    this.#slots[slot + 1] = right;
    this.#slots[slot + 2] = value;
  }

  /** NOTHING where the pair is not there. */
  get(left: number, right: number): number {
    return this.#slots[this.#slot(left, right) + 2] ?? NOTHING;
  }
}

/** A binary heap of numbers, the least first. */
class Heap {
  readonly #values: number[] = [];

  push(value: number): void {
    const values = this.#values;
    let i = values.length;
    values.push(value);
    while (i > 0) {
      const parent = (i - 1) >> 1;
      const above = values[parent] ?? 0;
      if (above <= value) break;
      values[i] = above;
      i = parent;
    }
    values[i] = value;
  }

  pop(): number | undefined {
    const values = this.#values;
    const least = values[0];
    const last = values.pop();
    if (last === undefined || values.length === 0) return least;
    let i = 0;
    for (let child = 1; child < values.length; child = 2 * i + 1) {
      let below = values[child] ?? 0;
      const other = child + 1 < values.length ? (values[child + 1] ?? 0) : Infinity;
      if (other < below) {
        below = other;
        child++;
      }
      if (below >= last) break;
      values[i] = below;
      i = child;
    }
    values[i] = last;
    return least;
  }
}
