/**
 * Corpus BLEU (Papineni et al. 2002, https://aclanthology.org/P02-1040) as sacrebleu 2 computes it: one reference a line, n-grams up to
 * 4, case kept, "exp" smoothing, no effective order. No npm library equals sacrebleu; the tests hold this one to it.
 */
import { countNgrams } from "./ngrams.ts";
import { type BleuTokenizer, tokenize } from "./tokenizers.ts";

const ORDER = 4;

/** The parameters as sacrebleu writes them. */
export const bleuSignature = (tokenizer: BleuTokenizer): string =>
  `nrefs:1|case:mixed|eff:no|tok:${tokenizer}|smooth:exp`;

/** From 0 to 100. Line i of the hypotheses has line i of the references. */
export function corpusBleu(
  hypotheses: readonly string[],
  references: readonly string[],
  tokenizer: BleuTokenizer = "13a",
): number {
  const [said, wanted] = [hypotheses, references].map((lines) =>
    lines.map((line) => tokenize(line, tokenizer)),
  ) as [string[][], string[][]];
  const [length, reference] = [said, wanted].map((lines) => lines.reduce((sum, l) => sum + l.length, 0)) as [
    number,
    number,
  ];
  const counts = countNgrams(said, wanted, { most: ORDER, separator: " ", whereReferred: false });
  if (counts.every(({ matches }) => matches === 0)) return 0;
  let [logarithms, smoothing] = [0, 1];
  for (const { matches, hypothesis } of counts) {
    if (hypothesis === 0) return 0; // no line has as many words
    if (matches === 0) smoothing *= 2; // an order without matches counts as 1/2, the next as 1/4 …
    logarithms += Math.log((100 * (matches || 1 / smoothing)) / hypothesis);
  }
  const brevity = length < reference ? Math.exp(1 - reference / length) : 1;
  return brevity * Math.exp(logarithms / ORDER);
}
