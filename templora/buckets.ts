/**
 * Perplexities by how far into its text a chunk begins, or by how long its text is: with more text behind it an adapter gains more
 * (arXiv 2401.11504, §4.1).
 */
import { type ChunkRecord, type Perplexities, Totals } from "./records.ts";

/** The paper's: up to 100K tokens, 300K, 500K, and beyond. */
export const paperBuckets: readonly number[] = [100_000, 300_000, 500_000];

export interface Bucket extends Perplexities {
  /** In tokens; a bucket without end has null. */
  readonly from: number;
  readonly to: number | null;
}

export class Buckets {
  readonly #edges: readonly number[];
  readonly #totals: readonly Totals[];

  /** `edges`: where the second bucket begins, the third …, ascending. */
  constructor(edges: readonly number[]) {
    this.#edges = [0, ...edges];
    this.#totals = this.#edges.map(() => new Totals());
  }

  /** Adds a chunk to the bucket of `tokens`. */
  add(tokens: number, record: ChunkRecord, weight = record.tokens): void {
    this.#totals[this.#edges.findLastIndex((edge) => edge <= tokens)]?.add(record, weight);
  }

  /** Those with a chunk in them. */
  get filled(): Bucket[] {
    return this.#totals
      .map(({ perplexities }, i) => ({
        from: this.#edges[i] ?? 0,
        to: this.#edges[i + 1] ?? null,
        ...perplexities,
      }))
      .filter(({ tokens }) => tokens > 0);
  }
}
