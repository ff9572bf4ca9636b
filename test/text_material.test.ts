/** What a prompt of a text holds: the paragraphs that a window has room for, fewer where translations are long, never more than was reckoned with. */
import { fileURLToPath } from "node:url";
import fc from "./support/fast_check.ts";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { BadInputError } from "../engine/errors.ts";
import { at } from "../kernels/base/at.ts";
import { openModelFiles } from "../model/model_files.ts";
import { LONGER, TextMaterial, type TextPiece, divide } from "../templora/text_material.ts";
import { TranslationPrompt } from "../templora/translation_prompt.ts";
import { goldenFolder } from "./support/golden.ts";

const test = suite("text material");
await using modelFiles = await openModelFiles(fileURLToPath(new URL("tiny-tied", goldenFolder)));
const { config, tokenizer } = modelFiles;
const prompt = new TranslationPrompt(tokenizer, "Translate.");
const pieces: TextPiece[] = ["one fish", "two fish", "red fish", "blue fish", "old fish"].map(
  (source, paragraph) => ({ paragraph, part: 0, source }),
);
const said = ["ein Fisch", "", "roter Fisch", "blauer Fisch", "alter Fisch"];
const tokens = (...texts: string[]): number =>
  texts.reduce((sum, text) => sum + prompt.line(`${text}\n`).length, 0);
const pair = (i: number): { source: string; target: string } => ({
  source: at(pieces, i).source,
  target: at(said, i),
});
/** Two pieces a block. */
const chunk = Math.max(tokens("one fish", "two fish"), tokens("red fish", "blue fish"));
const material = (window: number, newTokens = 20): TextMaterial =>
  new TextMaterial(prompt, pieces, { newTokens, chunk, window }, config);

test("blocks of whole pieces; prompts with what the window holds of earlier blocks, without what came out empty", () => {
  const all = material(400);
  assert.equal(all.blocks, [["one fish", "two fish"], ["red fish", "blue fish"], ["old fish"]]);
  const before = (of: TextMaterial, block: number, line: number): number[] => [
    ...of.before({ block, line }, said),
  ];
  const holding = (...shown: number[]): number[] => {
    const asked = { source: at(pieces, at(shown, shown.length - 1)).source, target: "" };
    return [...prompt.before({ context: shown.slice(0, -1).map(pair), pairs: [asked] }, 0)];
  };
  assert.equal(before(all, 0, 0), holding(0));
  assert.equal(before(all, 0, 1), holding(0, 1));
  assert.equal(before(all, 1, 1), holding(0, 2, 3));
  assert.equal(before(all, 2, 0), holding(0, 2, 3, 4));
  const one = tokens("blue fish", "blauer Fisch");
  assert.equal(before(material(one), 2, 0), holding(3, 4));
  assert.equal(before(material(one - 1), 2, 0), holding(4));
  assert.equal(before(material(0), 1, 1), holding(2, 3), "the block's own stay");
  const trained = all.training(1, said);
  const want = prompt.training({ context: [pair(0)], pairs: [pair(2), pair(3)] }, [
    "roter Fisch",
    "blauer Fisch",
  ]);
  assert.equal([[...trained.inputs], [...trained.targets]], [[...want.inputs], [...want.targets]]);
  assert.equal([...material(0).training(0, ["", ""]).targets], [], "nothing was written: nothing is learnt");
});

test("translations of any length: prompts and training texts stay within what was reckoned with", () => {
  const words = fc.nat(80).map((n) => "Fisch ".repeat(n).trim());
  fc.assert(
    fc.property(fc.array(words, { minLength: 5, maxLength: 5 }), fc.nat(500), (translations, window) => {
      const of = material(window);
      const { read, trained } = of.longest;
      assert.ok(read <= config.max_position_embeddings && trained <= read);
      of.blocks.forEach((lines, block) => {
        lines.forEach((_, line) => assert.ok(of.before({ block, line }, translations).length + 20 <= read));
        const { inputs, targets } = of.training(block, translations);
        const most = of.largest().training(block, []);
        assert.ok(inputs.length <= trained && targets.length <= most.targets.length);
      });
    }),
    { numRuns: 30 },
  );
});

test("translations of as many tokens as there may be take no context away", () => {
  const first = "old blue fish";
  const blocks = [[first], ["one fish", "two fish"], ["sea"]];
  const list = blocks.flat().map((source, paragraph) => ({ paragraph, part: 0, source }));
  const budget = { newTokens: 20, chunk: tokens("one fish", "two fish"), window: tokens(first, "alt") };
  const of = new TextMaterial(prompt, list, budget, config);
  assert.equal(of.blocks, blocks);
  assert.ok(of.longest.read < config.max_position_embeddings, "it takes none away either");
  let most = 0;
  for (let target = "x"; tokens(target) <= LONGER * budget.chunk; target += "x") {
    const context = [{ source: first, target: "alt" }, { source: "one fish", target }]; // prettier-ignore
    const want = prompt.before({ context, pairs: [{ source: "two fish", target: "" }] }, 0);
    assert.equal([...of.before({ block: 1, line: 1 }, ["alt", target])], [...want], `${target.length} x`);
    most = want.length;
  }
  assert.ok(most + budget.newTokens <= of.longest.read);
});

test("what the positions do not hold is refused", () => {
  const longest = Math.max(
    ...[0, 1, 2].map((block) => material(0).before({ block, line: 0 }, ["", "", "", "", ""]).length),
  );
  const most = config.max_position_embeddings - longest;
  assert.throws(
    () => material(0, most + 1),
    (e: Error) =>
      e instanceof BadInputError && /^block \d: .* the model has 512; a smaller --chunk/.test(e.message),
  );
});

test("a text is divided piece by piece and block by block, so that nothing else is kept waiting for long", () => {
  const steps = [...divide(prompt, pieces, { newTokens: 20, chunk, window: 400 }, config)].length;
  assert.is(steps, pieces.length + material(400).blocks.length);
});

test.run();
