/**
 * chrF2 (Popović 2015, https://aclanthology.org/W15-3049) of a corpus as sacrebleu 2 computes it: F with β 2 of the mean precision and
 * the mean recall of character n-grams up to 6, white space left out, one reference a line.
 */
import { countNgrams } from "./ngrams.ts";
import { words } from "./tokenizers.ts";

const ORDER = 6;
const BETA = 2;

/** The parameters as sacrebleu writes them. */
export const chrfSignature = "nrefs:1|case:mixed|eff:yes|nc:6|nw:0|space:no";

/** From 0 to 100. Line i of the hypotheses has line i of the references. */
export function corpusChrf(hypotheses: readonly string[], references: readonly string[]): number {
  const characters = (line: string): string[] => [...words(line).join("")];
  const counts = countNgrams(hypotheses.map(characters), references.map(characters), {
    ...{ most: ORDER, separator: "", whereReferred: true },
  }).filter(({ hypothesis, reference }) => hypothesis > 0 && reference > 0);
  const sum = (ratio: (count: (typeof counts)[number]) => number): number =>
    counts.reduce((total, count) => total + ratio(count), 0);
  const precision = sum(({ matches, hypothesis }) => matches / hypothesis) / counts.length;
  const recall = sum(({ matches, reference }) => matches / reference) / counts.length;
  if (!(precision + recall > 0)) return 0; // nothing matches, or there is nothing to count
  return (100 * (1 + BETA ** 2) * precision * recall) / (BETA ** 2 * precision + recall);
}
