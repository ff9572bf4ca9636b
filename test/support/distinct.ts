/** The share of distinct n-grams (Li et al. 2016, https://arxiv.org/abs/1510.03055), as its definition says. */
export function naive(ids: readonly number[], n = 4): number {
  const all = ids.slice(n - 1).map((_, i) => JSON.stringify(ids.slice(i, i + n)));
  return all.filter((one, i) => all.indexOf(one) === i).length / all.length;
}
