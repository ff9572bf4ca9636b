/** BLEU, its tokenizers and chrF against sacrebleu (test/golden/make_metrics.py). */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { bleuSignature, corpusBleu } from "../templora/metrics/bleu.ts";
import { chrfSignature, corpusChrf } from "../templora/metrics/chrf.ts";
import { type BleuTokenizer, tokenize, tokenizers } from "../templora/metrics/tokenizers.ts";
import { readGolden } from "./support/golden.ts";

const test = suite("metrics");

interface Golden {
  readonly cases: readonly {
    readonly name: string;
    readonly hypotheses: readonly string[];
    readonly references: readonly string[];
    readonly bleu: Readonly<Record<BleuTokenizer, number>>;
    readonly chrf: number;
  }[];
  readonly lines: readonly string[];
  readonly tokens: Readonly<Record<BleuTokenizer, readonly (readonly string[])[]>>;
  readonly signatures: { readonly bleu: Readonly<Record<BleuTokenizer, string>>; readonly chrf: string };
}
const golden = readGolden<Golden>("metrics.json");
const names = Object.keys(tokenizers) as BleuTokenizer[];

/** Both sum the same whole numbers; exp, log and division round in the last digits only. */
const isScore = (got: number, want: number, what: string): void =>
  assert.ok(Math.abs(got - want) <= 1e-12 * Math.max(1, want), `${what}: ${got}, not ${want}`);

for (const name of names)
  test(`tokenizer ${name}: the words of every line are sacrebleu's`, () => {
    golden.lines.forEach((line, i) =>
      assert.equal(tokenize(line, name), golden.tokens[name][i], JSON.stringify(line)),
    );
  });

for (const { name, hypotheses, references, bleu, chrf } of golden.cases)
  test(`BLEU and chrF: ${name}`, () => {
    for (const tokenizer of names)
      isScore(corpusBleu(hypotheses, references, tokenizer), bleu[tokenizer], tokenizer);
    isScore(corpusChrf(hypotheses, references), chrf, "chrF");
  });

test("scores by hand: words that are parts of others, a hypothesis shorter than an order", () => {
  // d and e of four words, "d e" of three pairs; then 1/2 of two triples, 1/4 of one quadruple
  isScore(corpusBleu(["ab c d e"], ["a bc d e"]), 100 * ((2 / 4) * (1 / 3) * (1 / 4) * (1 / 4)) ** (1 / 4), "BLEU"); // prettier-ignore
  // a, b and ab are all of the hypothesis; of the reference they are 2/6 and 1/5; there are no longer n-grams in both
  const recall = (2 / 6 + 1 / 5) / 2;
  isScore(corpusChrf(["ab"], ["abcdef"]), (100 * 5 * recall) / (4 + recall), "chrF");
});

test("ideographs outside of the basic plane are no words of their own, which sacrebleu means them to be", () => {
  assert.equal(tokenize("\u{2f800}\u{2fa1d} \u{20000}\u{2a6d6}", "zh"), ["\u{2f800}\u{2fa1d}", "\u{20000}\u{2a6d6}"]); // prettier-ignore
});

test("the parameters are named as sacrebleu names them", () => {
  for (const name of names) assert.is(bleuSignature(name), golden.signatures.bleu[name]);
  assert.is(chrfSignature, golden.signatures.chrf);
});

test.run();
