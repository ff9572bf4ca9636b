/**
 * How far to trust a memory, learnt from the tokens so far: Bayes' rule over a few shares, each weighted by how probable it would have
 * made the text, and a little of all weight spread evenly after each token, since the best share grows with the memory. Herbster &
 * Warmuth 1998, "Tracking the Best Expert" (fixed share, log loss), https://doi.org/10.1023/A:1007424614876.
 */
import { BadInputError } from "../engine/errors.ts";
import { at } from "../kernels/base/at.ts";

/** The weight that is spread after each token. Chosen on the tuning books: docs/log.md. */
export const SPREAD = 0.005;

export class Mixture {
  readonly #shares: readonly number[];
  #weights: readonly number[];

  /** `shares`: λ of each, in [0, 1). One alone is a fixed share. */
  constructor(shares: readonly number[]) {
    this.#shares = shares;
    this.#weights = even(shares.length);
  }

  /** Of each share; they add up to 1. */
  get weights(): readonly number[] {
    return this.#weights;
  }

  /** The mean share. */
  get share(): number {
    return this.#shares.reduce((sum, share, i) => sum + share * at(this.#weights, i), 0);
  }

  /** null: as they are in the beginning. */
  restore(weights: readonly number[] | null): void {
    if (weights && weights.length !== this.#shares.length)
      throw new BadInputError("the state's memory has other shares: it is damaged");
    this.#weights = weights ?? even(this.#shares.length);
  }

  /** What a token gets that the model gives `model`, above 0, and the memory `memory`; afterwards the weights know how each share did. */
  mix(model: number, memory: number): number {
    const each = this.#shares.map((share) => (1 - share) * model + share * memory);
    const mixed = each.reduce((sum, p, i) => sum + at(this.#weights, i) * p, 0);
    this.#weights = each.map(
      (p, i) => (1 - SPREAD) * at(this.#weights, i) * (p / mixed) + SPREAD / each.length,
    );
    return mixed;
  }
}

const even = (count: number): number[] => Array<number>(count).fill(1 / count);
