/**
 * Every part of a tokenizer.json that templora accepts gives the ids, and the text again, that the tokenizers library gives; and a text
 * that comes in parts has the ids of the whole.
 */
import { readFileSync } from "node:fs";
import fc from "./support/fast_check.ts";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { atOnce } from "../engine/turns.ts";
import { Tokenizer } from "../model/tokenizer.ts";
import { goldenFolder } from "./support/golden.ts";

const test = suite("parts of a tokenizer");

interface Case {
  readonly name: string;
  readonly changes: object;
  readonly ids: readonly (readonly number[])[];
  /** Of the texts that have other ids when spellings of special tokens are text. */
  readonly as_text: Readonly<Record<string, readonly number[]>>;
  /** Of the third text, with what the post-processor puts around it. */
  readonly with_ends: readonly number[];
  readonly decoded: readonly string[];
}
interface Golden {
  readonly texts: readonly string[];
  readonly models: readonly { readonly model: object; readonly cases: readonly Case[] }[];
}
const { texts, models } = JSON.parse(
  readFileSync(new URL("tokenizers.json", goldenFolder), "utf8"),
) as Golden;

const all: { readonly name: string; readonly tokenizer: Tokenizer }[] = [];
for (const { model, cases } of models)
  for (const { name, changes, ids, as_text, with_ends, decoded, ...parts } of cases) {
    const json = { ...parts, model: { ...model, ...changes } };
    const tokenizer = atOnce(
      Tokenizer.from(json, { bosId: null, eosIds: [], chatTemplate: undefined, source: name }),
    );
    all.push({ name, tokenizer });
    test(`${name}: ids and text`, () => {
      texts.forEach((text, i) => {
        const of = (parseSpecial: boolean): number[] =>
          tokenizer.encode(text, { special: false, parseSpecial });
        assert.equal(of(true), ids[i], JSON.stringify(text));
        assert.equal(of(false), as_text[i] ?? ids[i], JSON.stringify(text));
        assert.is(tokenizer.decode(ids[i] ?? []), decoded[i], JSON.stringify(text));
      });
      assert.equal(tokenizer.encode(texts[2] ?? ""), with_ends);
    });
  }

/** A text of about 12,000 characters: golden texts and plain words in random order. */
const long = fc
  .array(
    fc.oneof(
      fc.constantFrom(...texts),
      fc.constantFrom("the", " whale,", " 12 ", "e\u0301, y", "क़,a", "-", "\n"),
    ),
    {
      minLength: 400,
      maxLength: 800,
    },
  )
  .map((parts) => parts.join(""));

/** No place in a text is known where these split it. */
const whole = ["ByteLevel, no words", "Digits together, prefix space", "digits only", "unknown, left out"];

for (const { name, tokenizer } of all)
  test(`${name}: a text in parts, cut into pieces, has the ids of the whole`, async () => {
    await fc.assert(
      fc.asyncProperty(long, fc.integer({ min: 1, max: 3000 }), async (text, size) => {
        let given = 0;
        const parts = function* (): Generator<string> {
          for (; given < text.length; given += size) yield text.slice(given, given + size);
        };
        const [ids, piece] = [tokenizer.encode(text, { parseSpecial: true }), 600];
        const inParts = (most?: number): Promise<Int32Array> =>
          tokenizer.encodeParts(parts(), { piece, parseSpecial: true, ...(most !== undefined && { most }) });
        assert.equal([...(await inParts())], ids);
        given = 0;
        assert.equal([...(await inParts(9))], ids.slice(0, 9));
        if (!whole.includes(name))
          assert.ok(given < 5000 + size, `${given} characters were read for 9 tokens`);
      }),
      { numRuns: 6, endOnFailure: true },
    );
  });

test.run();
