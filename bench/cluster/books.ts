/** PG19's books, of which only the lengths matter here. */
import { Draws } from "./draws.ts";

/** Books and words: the dataset's own table (github.com/google-deepmind/pg19: training, validation and test set together). */
export const PG19 = { books: 28_602 + 50 + 100, words: 1_973_136_207 + 3_007_061 + 6_966_499 } as const;

/**
 * Of the logarithm of a book's words. The table has no spread. The 28 books that the paper's subset shares with the data here are all of 0.7 to
 * 1.6 MB; seen through that window, under a log-normal with PG19's mean, they are as likely under any spread from 0.8 on (within a factor of 2),
 * and a twentieth as likely under 0.6. With 0.8 the longest book has 1.3 million words; larger spreads make books longer than any there is.
 */
export const SPREAD = 0.8;

/** The words of so many books: log-normal, at evenly spaced shares of the distribution, so that their sum is no matter of chance; in a drawn order. */
export function booksOf(count: number, meanWords: number, spread: number, seed: number): number[] {
  const middle = Math.log(meanWords) - spread ** 2 / 2;
  const words = Array.from({ length: count }, (_, i) =>
    Math.exp(middle + spread * quantile((i + 0.5) / count)),
  );
  const scale = (count * meanWords) / words.reduce((sum, x) => sum + x, 0); // the far tail that a sample lacks
  return shuffled(words, new Draws(seed, 0)).map((x) => Math.max(1, Math.round(scale * x)));
}

function shuffled(items: readonly number[], draws: Draws): number[] {
  const all = [...items];
  for (let i = all.length - 1; i > 0; i--) {
    const j = Math.floor((i + 1) * draws.uniform());
    [all[i], all[j]] = [all[j] ?? 0, all[i] ?? 0];
  }
  return all;
}

/** The standard normal's: by bisection of its distribution function. */
export function quantile(share: number): number {
  let [low, high] = [-9, 9];
  while (high - low > 1e-9) {
    const middle = (low + high) / 2;
    if (normalBelow(middle) < share) low = middle;
    else high = middle;
  }
  return (low + high) / 2;
}

/** Φ: Marsaglia 2004, "Evaluating the normal distribution": x + x³/3 + x⁵/(3·5) + … */
function normalBelow(x: number): number {
  let [sum, term] = [x, x];
  for (let i = 3; Math.abs(term) > 1e-17 * Math.abs(sum); i += 2) sum += term *= (x * x) / i;
  return 0.5 + sum * Math.exp(-0.5 * x * x - 0.91893853320467274178);
}
