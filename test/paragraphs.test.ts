/** A text as paragraphs and what stands between them, paragraphs as pieces, and the terms of a glossary. */
import fc from "./support/fast_check.ts";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { BadInputError } from "../engine/errors.ts";
import { atOnce } from "../engine/turns.ts";
import { Glossary } from "../templora/glossary.ts";
import { type Paragraphs, paragraphsOf, piecesOf } from "../templora/paragraphs.ts";

const test = suite("paragraphs");

const whole = ({ paragraphs, gaps }: Paragraphs): string =>
  gaps.map((gap, i) => `${gap}${paragraphs[i] ?? ""}`).join("");

for (const [text, paragraphs, gaps, end] of [
  ["One.\n\nTwo.", ["One.", "Two."], ["", "\n\n", ""]],
  ["  One.\r\n\r\n\r\n\tTwo.\r\n", ["One.", "Two."], ["  ", "\r\n\r\n\r\n\t", "\r\n"]],
  ["One\nand\r\nmore.\n \nTwo.\n", ["One and more.", "Two."], ["", "\n \n", "\n"]],
  ["One.\rTwo.\u2028Three.", ["One.", "Two.", "Three."], ["", "\r", "\u2028", ""]],
  ["One.\r\nTwo.", ["One.", "Two."], ["", "\r\n", ""]],
  ["One.\n\nTwo.\nThree.", ["One.", "Two.", "Three."], ["", "\n\n", "\n", ""], "line"],
  ["One.\nTwo.", ["One. Two."], ["", ""], "blank"],
  ["\n\nOne.\nTwo.\n\n\n", ["One.", "Two."], ["\n\n", "\n", "\n\n\n"]],
  ["第一，\n第二。\n\n　　末。", ["第一，第二。", "末。"], ["", "\n\n　　", ""]],
  ["長い文\nthe end\n終わり\n\nx", ["長い文 the end 終わり", "x"], ["", "\n\n", ""]],
  ["前。\n（中）。\nカタ\nカナ\nひら\nがな\n\nx", ["前。（中）。カタカナひらがな", "x"], ["", "\n\n", ""]],
  ["𠀀\n𠀁\n\nx", ["𠀀𠀁", "x"], ["", "\n\n", ""]],
  ["One.\n\n* * *\n\nTwo.\n\n——", ["One.", "Two."], ["", "\n\n* * *\n\n", "\n\n——"]],
  ["* * *\n\nOne.", ["One."], ["* * *\n\n", ""]],
  ["***", [], ["***"]],
  [" \n ", [], [" \n "]],
  ["", [], [""]],
] as const)
  test(`paragraphs of ${JSON.stringify(text)}${end ? `, ${end}` : ""}`, () => {
    assert.equal(atOnce(paragraphsOf(text, end)), { paragraphs, gaps });
  });

test("line by line, paragraphs and gaps are the text; else only white space inside of paragraphs differs", () => {
  const letter = fc.constantFrom(
    "a",
    "Ж",
    "水",
    "*",
    " ",
    "\t",
    "\n",
    "\r",
    "\r\n",
    "\u2029",
    "\u3000",
    "。",
  );
  fc.assert(
    fc.property(fc.array(letter), fc.constantFrom("blank" as const, "line" as const), (letters, end) => {
      const text = letters.join("");
      const found = atOnce(paragraphsOf(text, end));
      assert.is(found.gaps.length, found.paragraphs.length + 1);
      const bare = (s: string): string => s.replaceAll(/\s/g, "");
      assert.is(bare(whole(found)), bare(text));
      if (end === "line") assert.is(whole(found), text);
      for (const paragraph of found.paragraphs) {
        assert.not.match(paragraph, /[\n\r\u2028\u2029]/);
        assert.is(paragraph, paragraph.trim());
      }
      for (const gap of found.gaps) assert.not.match(gap, /[\p{L}\p{N}]/u);
    }),
  );
});

const characters = (text: string): number => text.length;

test("a long paragraph is cut at ends of sentences, a long sentence between words, a long word anywhere", () => {
  const cut = (text: string, language: string, most: number): object =>
    atOnce(piecesOf(text, language, characters, most));
  assert.equal(cut("Short. Or?", "en", 10), { pieces: ["Short. Or?"], between: "sentence" });
  assert.equal(cut("One two three. Four five. Six.", "en", 16), {
    ...{ pieces: ["One two three.", "Four five. Six."], between: "sentence" },
  });
  assert.equal(cut("他来了。“为什么？”她说。大家都睡了！好吧。", "zh", 10), {
    ...{ pieces: ["他来了。“为什么？”", "她说。大家都睡了！", "好吧。"], between: "sentence" },
  });
  assert.equal(cut("他来了，大家都睡了，好吧，没有人说话。他走了。", "zh", 10), {
    ...{ pieces: ["他来了，大家都睡了，", "好吧，没有人说话。", "他走了。"], between: "word" },
  });
  assert.equal(cut("One two threefourfivesixseveneight nine.", "en", 10), {
    ...{ pieces: ["One two", "threefourf", "ivesixseve", "neight", "nine."], between: "grapheme" },
  });
  assert.equal(cut("abcdefghijklm n o.", "en", 10), {
    ...{ pieces: ["abcdefghij", "klm n o."], between: "grapheme" },
  });
  assert.equal(cut("abcdefghij, klm. One two three.", "en", 10), {
    ...{ pieces: ["abcdefghij,", "klm.", "One two", "three."], between: "word" },
  });
  assert.equal(cut("abcdefghijklm. One two three.", "en", 10), {
    ...{ pieces: ["abcdefghij", "klm.", "One two", "three."], between: "grapheme" },
  });
});

test("pieces hold all of a paragraph in order, none more than there may be", () => {
  const letter = fc.constantFrom("a", "b", " ", ". ", "! ", "水", "。", "e\u0301");
  fc.assert(
    fc.property(fc.array(letter), fc.integer({ min: 2, max: 20 }), (letters, most) => {
      const text = letters.join("").trim();
      const { pieces } = atOnce(piecesOf(text, "en", characters, most));
      assert.is(pieces.join("").replaceAll(" ", ""), text.replaceAll(" ", ""));
      if (text !== "")
        for (const piece of pieces)
          assert.ok(piece !== "" && piece.replace(/[^a-z水]+$/u, "").length <= most, piece);
    }),
  );
});

test("of a paragraph of any length, a part is looked at at a time", () => {
  let longest = 0;
  const counted = (text: string): number => {
    longest = Math.max(longest, text.length);
    return text.length;
  };
  for (const [unit, between, whole] of [
    ["The whale came up and blew. ", "sentence", /^(The whale came up and blew\.( |$))+$/],
    ["the whale came up and blew ", "word", /^(the|whale|came|up|and|blew| )+$/],
    ["水鲸。", "sentence", /^(水鲸。)+$/],
    ["ab\u0301", "grapheme", /^(a|b\u0301)+$/],
    ["a", "grapheme", /^a+$/],
  ] as const) {
    const text = unit.repeat(100_000).trim();
    const cutting = piecesOf(text, "en", counted, 1000);
    let [step, steps] = [cutting.next(), 0];
    for (; step.done !== true; step = cutting.next()) steps++;
    assert.is(step.value.between, between);
    assert.ok(steps > 10_000, `${steps}`);
    const { pieces } = step.value;
    assert.is(pieces.join("").replaceAll(" ", ""), text.replaceAll(" ", ""));
    for (const piece of pieces) assert.match(piece, whole);
    assert.ok(pieces.every(({ length }) => length <= 1000));
    const short = pieces.filter(({ length }) => length < 970).length;
    assert.ok(short <= text.length / 2 ** 14 + 1, `${short}`); // where one part ends
  }
  assert.ok(longest <= 2 ** 14, `${longest}`);
});

const glossary = Glossary.parse(
  "# names\r\n约翰\tJohn\r\n\r\nwhale\tWal\nfin whale\tFinnwal\n船\tship \n",
  "g.tsv",
);

test("a glossary's terms: which occur, what a prompt says of them, how many came out as given", () => {
  const found = (...texts: string[]): string => glossary.termsIn(texts).map(({ source }) => source).join(); // prettier-ignore
  assert.is(found("他叫约翰。"), "约翰");
  assert.is(found("Whales!"), "whale");
  assert.is(found("the narwhale", "a FIN WHALE"), "whale,fin whale");
  assert.is(found("the narwhale, x约翰"), "约翰");
  assert.equal(glossary.linesFor(["船", "a whale"]), ["Glossary: whale = Wal; 船 = ship"]);
  assert.equal(glossary.linesFor(["boat"]), []);
  const count = glossary.count([
    { source: "a whale, a whale", translation: "ein Wal" },
    { source: "whales", translation: "Walfische" },
    { source: "one whale more", translation: "ein Narwal" },
    { source: "约翰", translation: "Johann" },
  ]);
  assert.equal(count, [
    { source: "约翰", target: "John", occurred: 1, rendered: 0 },
    { source: "whale", target: "Wal", occurred: 3, rendered: 2 },
  ]);
});

for (const [source, text, is] of [
  ["วาฬ", "เห็นวาฬตัวใหญ่", true], // Thai has no spaces between words
  ["ปลา", "วาฬ", false],
  ["न", "दिन", false], // a vowel sign is of its word, too
  ["न", "दि न", true],
  ["na-na", "xna-na-na", true], // its second place overlaps the first
  ["na-na", "xna-na", false],
] as const)
  test(`${source} is ${is ? "" : "not "}a word's beginning in ${text}`, () => {
    assert.is(new Glossary([{ source, target: "x" }]).termsIn([text]).length, Number(is));
  });

for (const [text, says] of [
  ["a\tb\n\nc", 'g.tsv, line 3: expected a term, a tab and its translation, got "c"'],
  ["a\t \n", 'g.tsv, line 1: expected a term, a tab and its translation, got "a\\t "'],
  ["a\tb\tc", 'g.tsv, line 1: expected a term, a tab and its translation, got "a\\tb\\tc"'],
  ["# x\nÉ\tb\ne\u0301\tc", 'g.tsv, line 3: "e\u0301" is there already, in line 2; keep one of them'],
  ["# nothing\n", "g.tsv: no terms in it"],
] as const)
  test(`refused: ${says}`, () => {
    assert.throws(
      () => Glossary.parse(text, "g.tsv"),
      (error: Error) => error instanceof BadInputError && error.message === says,
    );
  });

test.run();
