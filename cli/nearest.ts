/** Suggestions for mistyped words. */
import { at } from "../kernels/base/at.ts";

/** " (did you mean X?)" for the one candidate that has the word in it, else for the nearest; nothing when none is near. */
export function nearest(word: string, candidates: readonly string[]): string {
  const [having, ...others] = candidates.filter((candidate) => word.length > 2 && candidate.includes(word));
  if (having !== undefined && others.length === 0) return ` (did you mean ${having}?)`;
  const limit = Math.max(1, Math.floor(word.length * 0.4));
  let best: string | undefined;
  let least = limit + 1;
  for (const candidate of candidates) {
    const d = distance(word, candidate);
    if (d < least) [best, least] = [candidate, d];
  }
  return best === undefined ? "" : ` (did you mean ${best}?)`;
}

/** Edits (insertions, deletions, substitutions, swaps of neighbours) between two words. */
function distance(a: string, b: string): number {
  let before: number[] = [];
  let row = Array.from({ length: b.length + 1 }, (_, j) => j);
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    for (let j = 1; j <= b.length; j++) {
      const swap =
        i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1] ? at(before, j - 2) + 1 : Infinity;
      next.push(
        Math.min(at(row, j) + 1, at(next, j - 1) + 1, at(row, j - 1) + (a[i - 1] === b[j - 1] ? 0 : 1), swap),
      );
    }
    [before, row] = [row, next];
  }
  return at(row, b.length);
}
