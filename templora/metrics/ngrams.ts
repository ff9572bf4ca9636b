/** Counts of n-grams, and how many of a hypothesis' n-grams its reference has: what BLEU and chrF are made of. */

/** Of one order n, summed over the lines of a corpus. */
export interface Counts {
  readonly hypothesis: number;
  readonly reference: number;
  /** n-grams of the hypotheses that their references have, too, each as often as in the reference at most. */
  readonly matches: number;
}

export interface CountOptions {
  /** Orders 1 … most are counted. */
  readonly most: number;
  /** What no item has in it. */
  readonly separator: string;
  /** Leave a hypothesis out where its reference is too short for the order, as chrF does. */
  readonly whereReferred: boolean;
}

/** Both lists hold each line's items: words or characters. */
export function countNgrams(
  hypotheses: readonly (readonly string[])[],
  references: readonly (readonly string[])[],
  { most, separator, whereReferred }: CountOptions,
): Counts[] {
  return Array.from({ length: most }, (_, i) => {
    const sums = { hypothesis: 0, reference: 0, matches: 0 };
    hypotheses.forEach((items, line) => {
      const wanted = ngramsOf(references[line] ?? [], i + 1, separator);
      for (const times of wanted.values()) sums.reference += times;
      if (whereReferred && wanted.size === 0) return;
      for (const [ngram, times] of ngramsOf(items, i + 1, separator)) {
        sums.hypothesis += times;
        sums.matches += Math.min(times, wanted.get(ngram) ?? 0);
      }
    });
    return sums;
  });
}

/** How often each n-gram comes. */
function ngramsOf(items: readonly string[], n: number, separator: string): Map<string, number> {
  const counts = new Map<string, number>();
  for (let end = n; end <= items.length; end++) {
    const ngram = items.slice(end - n, end).join(separator);
    counts.set(ngram, (counts.get(ngram) ?? 0) + 1);
  }
  return counts;
}
