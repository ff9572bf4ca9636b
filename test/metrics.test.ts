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

test("the parameters are named as sacrebleu names them", () => {
  for (const name of names) assert.is(bleuSignature(name), golden.signatures.bleu[name]);
  assert.is(chrfSignature, golden.signatures.chrf);
});

test.run();
