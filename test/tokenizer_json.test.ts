/** Small tokenizer.json files: what is refused, by which name, and what is the same in another spelling. */
import fc from "./support/fast_check.ts";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { atOnce } from "../engine/turns.ts";
import { BadInputError } from "../engine/errors.ts";
import { AddedTokens } from "../model/added_tokens.ts";
import { inByteLetters, pieceBytes } from "../model/pieces.ts";
import { Tokenizer } from "../model/tokenizer.ts";
import { matchesAll, wordPattern } from "../model/word_patterns.ts";

const model = { type: "BPE", vocab: { a: 0, b: 1, c: 2, ab: 3, " ": 4, "▁": 5 }, merges: [["a", "b"]] };
const base = { model, decoder: { type: "ByteLevel" } };
const open = (changes: object): Tokenizer =>
  atOnce(
    Tokenizer.from(
      { ...base, ...changes },
      { bosId: null, eosIds: [], chatTemplate: undefined, source: "t" },
    ),
  );
const withModel = (changes: object): Tokenizer => open({ model: { ...model, ...changes } });
const token = (id: unknown, content: unknown, rules: object = {}): object => ({ id, content, ...rules });
const allBytes = Object.fromEntries(
  Array.from({ length: 256 }, (_, i) => [`<0x${i.toString(16).toUpperCase().padStart(2, "0")}>`, 10 + i]),
);
const { "<0x0A>": _, ...noLineBreak } = allBytes;
const split = (behavior: string, pattern: object, more: object = {}): object => ({
  pre_tokenizer: { type: "Split", behavior, pattern, ...more },
});
const template = (single: unknown, special_tokens?: object): object => ({
  post_processor: { type: "TemplateProcessing", single, special_tokens },
});
const special = (id: unknown): object => ({ SpecialToken: { id, type_id: 0 } });
const A = { Sequence: { id: "A", type_id: 0 } };

const refused: readonly (readonly [what: string, build: () => unknown, says: string])[] = [
  ["no object", () => atOnce(Tokenizer.from([], { bosId: null, eosIds: [], chatTemplate: undefined, source: "t" })), "t: expected a JSON object, got []"],
  ["no model", () => open({ model: undefined }), "t: model: expected a JSON object, got nothing"],
  ["another model", () => withModel({ type: "WordPiece" }), 't: model type "WordPiece"; templora reads BPE'],
  ["no vocabulary", () => withModel({ vocab: [] }), "t: model.vocab: expected a JSON object"],
  ["an id below 0", () => withModel({ vocab: { a: -1 } }), 't: id of "a": expected a whole number from 0 to 16777216, got -1'],
  ["an id too large", () => withModel({ vocab: { a: 16777217 } }), "got 16777217"],
  ["two tokens, one id", () => withModel({ vocab: { ...model.vocab, d: 0 } }), 't: id 0 belongs to both "a" and "d"'],
  ["added tokens, no list", () => open({ added_tokens: {} }), "t: added_tokens: expected a list"],
  ["an added token, no object", () => open({ added_tokens: [token(9, "x"), 3] }), "t: added_tokens[1]: expected a JSON object"],
  ["an added token at another's id", () => open({ added_tokens: [token(0, "x")] }), 't: id 0 belongs to both "a" and "x"'],
  ["an added token with another id", () => open({ added_tokens: [token(9, "a")] }), 't: "a" has the ids 0 and 9'],
  ["an empty added token", () => open({ added_tokens: [token(9, "")] }), "t: added_tokens[0]: added token 9 is empty"],
  ["an added token, no text", () => open({ added_tokens: [token(9, 1)] }), "t: added_tokens[0]: content: expected a string"],
  ["an added token, no id", () => open({ added_tokens: [token("9", "x")] }), 't: added_tokens[0]: id of "x": expected a whole number'],
  ["a prefix of continued words", () => withModel({ continuing_subword_prefix: "##" }), 't: model.continuing_subword_prefix is "##"'],
  ["a suffix of words", () => withModel({ end_of_word_suffix: "</w>" }), 't: model.end_of_word_suffix is "</w>"'],
  ["dropout", () => withModel({ dropout: 0.1 }), "t: model.dropout is 0.1"],
  ["an unknown token that is not there", () => withModel({ unk_token: "?" }), 't: model.unk_token: "?" is not in the vocabulary'],
  ["an unknown token, no text", () => withModel({ unk_token: 0 }), "t: model.unk_token: expected a string, got 0"],
  ["a byte that is not there", () => withModel({ byte_fallback: true, vocab: { ...model.vocab, ...noLineBreak } }), "t: byte_fallback, but <0x0A> is not in the vocabulary"],
  ["all bytes but one not there", () => withModel({ byte_fallback: true, vocab: { "<0x00>": 0, a: 1, b: 2, ab: 3 } }), "t: byte_fallback, but <0x01> is not in the vocabulary"],
  ["merges, no list", () => withModel({ merges: "a b" }), "t: model.merges: expected a list"],
  ["too many merges", () => withModel({ merges: new Array(2 ** 22 + 1) }), "t: model.merges has 4194305 entries; at most 4194304 are read"],
  ["three in a merge", () => withModel({ merges: ["a b", "a b c"] }), 't: model.merges[1]: "a b c" is not a pair'],
  ["three in a list", () => withModel({ merges: [["a", "b", "c"]] }), "t: model.merges[0]: [\"a\",\"b\",\"c\"] is not a pair"],
  ["one in a merge", () => withModel({ merges: ["a"] }), "t: model.merges[0]: expected a string, got nothing"],
  ["a merge of numbers", () => withModel({ merges: [[0, 1]] }), "t: model.merges[0]: expected a string, got 0"],
  ["a merge, no list", () => withModel({ merges: [0] }), "t: model.merges[0]: expected a list, got 0"],
  ["a merge of what is not there", () => withModel({ merges: [["a", "d"]] }), 't: model.merges[0]: "d" is not in the vocabulary'],
  ["a merge to what is not there", () => withModel({ merges: [["b", "c"]] }), 't: model.merges[0]: "bc" is not in the vocabulary'],
  ["another normalizer", () => open({ normalizer: { type: "Lowercase" } }), 't: normalizer: type "Lowercase" is not supported'],
  ["another within a sequence", () => open({ normalizer: { type: "Sequence", normalizers: [{ type: "NFKC" }] } }), 't: normalizer: type "NFKC"'],
  ["a sequence of nothing", () => open({ normalizer: { type: "Sequence" } }), "t: normalizer.normalizers: expected a list"],
  ["a normalizer, no object", () => open({ normalizer: "NFC" }), "t: normalizer: expected a JSON object"],
  ["Prepend of nothing", () => open({ normalizer: { type: "Prepend" } }), "t: normalizer.prepend: expected a string"],
  ["Replace of a pattern", () => open({ normalizer: { type: "Replace", pattern: { Regex: " +" }, content: "" } }), 't: normalizer: Replace with pattern {"Regex":" +"} is not supported'],
  ["Replace of nothing", () => open({ normalizer: { type: "Replace", pattern: { String: "" }, content: "x" } }), 't: normalizer: Replace with pattern {"String":""}'],
  ["Replace without a pattern", () => open({ normalizer: { type: "Replace", pattern: " " } }), "t: normalizer: Replace: pattern: expected a JSON object"],
  ["Replace by nothing", () => open({ normalizer: { type: "Replace", pattern: { String: " " } } }), "t: normalizer.content: expected a string"],
  ["another pre-tokenizer", () => open({ pre_tokenizer: { type: "Whitespace" } }), 't: pre_tokenizer: type "Whitespace" is not supported'],
  ["pre-tokenizers, no list", () => open({ pre_tokenizer: { type: "Sequence" } }), "t: pre_tokenizer.pretokenizers: expected a list"],
  ["one behind ByteLevel", () => open({ pre_tokenizer: { type: "Sequence", pretokenizers: [{ type: "ByteLevel" }, { type: "Digits" }] } }), 't: pre_tokenizer: "Digits" behind ByteLevel is not supported'],
  ["Split, removed", () => open(split("Removed", { Regex: "\\s+" })), 't: pre_tokenizer: Split with behavior "Removed" is not supported'],
  ["Split, merged, inverted", () => open(split("MergedWithNext", { Regex: "\\s+" }, { invert: true })), 't: pre_tokenizer: Split with behavior "MergedWithNext" and invert is not supported'],
  ["Split at spaces that are there", () => open(split("MergedWithPrevious", { String: " " })), 't: pre_tokenizer: Split with behavior "MergedWithPrevious" is not supported'],
  ["Split at a text", () => open(split("Isolated", { String: "x" })), "t: pre_tokenizer: Regex of Split: expected a string, got nothing"],
  ["Split without a pattern", () => open(split("Isolated", [])), "t: pre_tokenizer: pattern of Split: expected a JSON object"],
  ["an unknown pattern", () => open(split("Isolated", { Regex: "\\s+|(?:a|b)|[|]" })), 't: pre_tokenizer: "(?:a|b)" of the pattern is none that templora knows'],
  ["Metaspace that splits", () => open({ pre_tokenizer: { type: "Metaspace", replacement: "▁" } }), "t: pre_tokenizer: Metaspace that splits is not supported"],
  ["Metaspace of a kind", () => open({ pre_tokenizer: { type: "Metaspace", replacement: "▁", split: false, prepend_scheme: "last" } }), 't: pre_tokenizer: prepend_scheme "last" is not supported'],
  ["Metaspace, no space in front, where one is", () => open({ pre_tokenizer: { type: "Metaspace", replacement: "▁", split: false, add_prefix_space: false } }), 't: pre_tokenizer: add_prefix_space is false, but prepend_scheme "always"'],
  ["Metaspace of two letters", () => open({ pre_tokenizer: { type: "Metaspace", replacement: "ab", split: false } }), 't: pre_tokenizer.replacement: expected one character, got "ab"'],
  ["Metaspace of nothing", () => open({ pre_tokenizer: { type: "Metaspace", split: false } }), "t: pre_tokenizer.replacement: expected a string"],
  ["no decoder", () => open({ decoder: null }), "t: decoder: expected a JSON object, got null"],
  ["another decoder", () => open({ decoder: { type: "WordPiece" } }), "t: decoder: "],
  ["decoders, no list", () => open({ decoder: { type: "Sequence" } }), "t: decoder.decoders: expected a list"],
  ["decoders in another order", () => open({ decoder: { type: "Sequence", decoders: ["Fuse", "Replace", "ByteFallback"].map((type) => ({ type })) } }), "is not supported; ByteLevel and sentencepiece decoders are"],
  ["one decoder too many", () => open({ decoder: { type: "Sequence", decoders: ["Replace", "ByteFallback", "Fuse", "Strip", "Strip"].map((type) => ({ type })) } }), "is not supported"],
  ["a decoder before", () => open({ decoder: { type: "Sequence", decoders: ["Strip", "Replace", "ByteFallback", "Fuse"].map((type) => ({ type })) } }), "is not supported"],
  ["another post-processor", () => open({ post_processor: { type: "BertProcessing" } }), 't: post_processor: type "BertProcessing" is not supported'],
  ["a post-processor, no object", () => open({ post_processor: "none" }), "t: post_processor: expected a JSON object"],
  ["post-processors, no list", () => open({ post_processor: { type: "Sequence" } }), "t: post_processor.processors: expected a list"],
  ["another within a sequence of them", () => open({ post_processor: { type: "Sequence", processors: [{ type: "X" }] } }), 't: post_processor: type "X"'],
  ["a template, no list", () => open(template({})), "t: post_processor.single: expected a list"],
  ["a template of texts", () => open(template(["<s>"])), 't: post_processor.single: expected a JSON object, got "<s>"'],
  ["a template of what is not there", () => open(template([special("<s>"), A])), 't: post_processor: "<s>" is not in the vocabulary'],
  ["a template token without a name", () => open(template([special(1), A])), "t: post_processor.single: expected a string, got 1"],
  ["a template token, no object", () => open(template([{ SpecialToken: "a" }, A])), "t: post_processor.single: expected a JSON object"],
  ["special tokens, no object", () => open(template([special("a"), A], [])), "t: post_processor.special_tokens: expected a JSON object"],
  ["a special token, no object", () => open(template([special("a"), A], { a: 0 })), 't: post_processor: "a": expected a JSON object'],
  ["a special token's id", () => open(template([special("a"), A], { a: { ids: ["0"] } })), 't: post_processor: id of "a": expected a whole number'],
]; // prettier-ignore

for (const [what, build, says] of refused)
  test(`refused: ${what}`, () => {
    let error: unknown;
    try {
      build();
    } catch (e) {
      error = e;
    }
    assert.instance(error, BadInputError, String(error));
    assert.ok((error as BadInputError).message.startsWith(says) || !says.startsWith("t:"), String(error));
    assert.match((error as BadInputError).message, says);
  });

test("what may be left out, null, or asks for nothing", () => {
  const ids = (tokenizer: Tokenizer): number[] => tokenizer.encode("abcba");
  const usual = [3, 2, 1, 0];
  assert.equal(ids(open({})), usual);
  const nothing = { normalizer: null, pre_tokenizer: null, post_processor: null, added_tokens: null };
  assert.equal(ids(open(nothing)), usual);
  assert.equal(ids(withModel({ type: undefined, merges: ["a b"] })), usual);
  const off = { continuing_subword_prefix: "", end_of_word_suffix: "", dropout: 0, unk_token: null };
  assert.equal(ids(withModel(off)), usual);
  const nulls = { continuing_subword_prefix: null, end_of_word_suffix: null, dropout: null };
  assert.equal(ids(withModel({ ...nulls, byte_fallback: true })), usual);
  assert.equal(ids(open({ added_tokens: [token(0, "a")] })), [0, 1, 2, 1, 0], "an added token is no letter");
  assert.equal(ids(open({ post_processor: { type: "ByteLevel" } })), usual);
  assert.equal(withModel({ ignore_merges: "yes" }).encode("ab"), [3], "only true is true");
});

test("unknown characters: left out, one token each or one together, or bytes", () => {
  const vocab = { ...model.vocab, "<unk>": 6 };
  const of = (changes: object): number[] => withModel({ vocab, ...changes }).encode("axyabx");
  assert.equal(of({}), [0, 3]);
  assert.equal(of({ unk_token: "<unk>" }), [0, 6, 6, 3, 6]);
  assert.equal(of({ unk_token: "<unk>", fuse_unk: true }), [0, 6, 3, 6]);
  assert.equal(of({ unk_token: "<unk>", byte_fallback: true }), [0, 6, 6, 3, 6], "without bytes, unknown");
  const bytes = withModel({ vocab: { ...vocab, ...allBytes }, unk_token: "<unk>", byte_fallback: true });
  assert.equal(bytes.encode("aé\n"), [0, 10 + 0xc3, 10 + 0xa9, 10 + 0x0a]);
});

test("ids without a token stand for nothing", () => {
  const tokenizer = withModel({ vocab: { a: 0, b: 1, ab: 5 } });
  assert.is(tokenizer.vocabSize, 6);
  assert.is(tokenizer.decode([0, 3, 5, 99, 1]), "aabb");
});

test("what a template puts around a text: ids of its own list, or of the vocabulary", () => {
  assert.equal(open(template([special("c"), A, special("b")])).encode("a"), [2, 0, 1]);
  assert.equal(open(template([special("c"), A], { c: { ids: [4, 5] } })).encode("a"), [4, 5, 0]);
  assert.equal(open(template([A, special("c")], { c: { ids: 4 } })).encode("a"), [0, 4]);
  const added = { added_tokens: [token(9, "<s>")] };
  assert.equal(open({ ...added, ...template([special("<s>"), A]) }).encode("a"), [9, 0]);
  assert.equal(open(template([special("c"), A])).encode("a", { special: false }), [0]);
});

test("Metaspace's decoder keeps the first space only where the encoder puts none", () => {
  const decoded = (decoder: object): string => open({ decoder }).decode([5, 0, 5, 1]);
  assert.is(decoded({ type: "Metaspace", prepend_scheme: "always" }), "a b");
  assert.is(decoded({ type: "Metaspace", prepend_scheme: "first" }), "a b");
  assert.is(decoded({ type: "Metaspace", prepend_scheme: "never" }), " a b");
  const sequence = (...types: string[]): string =>
    decoded({ type: "Sequence", decoders: types.map((type) => ({ type })) });
  assert.is(sequence("Replace", "ByteFallback", "Fuse", "Strip"), "a b");
  assert.is(sequence("Replace", "ByteFallback", "Fuse"), " a b");
});

test("the bytes of a token", () => {
  const bytes = (text: string): number[] => [...new TextEncoder().encode(text)];
  // GPT-2's bytes_to_unicode: of printable Latin-1, itself; the others in order from U+0100
  for (const [letter, byte] of [
    ["!", 0x21],
    ["~", 0x7e],
    ["¡", 0xa1],
    ["¬", 0xac],
    ["®", 0xae],
    ["ÿ", 0xff],
    ["Ā", 0],
    ["Ġ", 0x20],
    ["ġ", 0x7f],
    ["ł", 0xa0],
    ["Ń", 0xad],
  ] as const)
    // prettier-ignore
    assert.equal([...pieceBytes(letter, "byte level")], [byte], letter);
  assert.is(inByteLetters(" é\n"), "ĠÃ©Ċ");
  assert.equal([...pieceBytes("ĠÃ©", "byte level")], bytes(" é"));
  assert.equal([...pieceBytes("Ġ鲸", "byte level")], bytes("Ġ鲸"), "not in that alphabet: as it is");
  assert.equal([...pieceBytes("<0x0A>", "sentencepiece")], [10]);
  for (const other of ["<0x0a>", "x<0x0A>", "<0x0A>x", "<0x0AB>", "<0xA>"])
    assert.equal([...pieceBytes(other, "sentencepiece")], bytes(other));
  assert.equal([...pieceBytes("▁a▁", "sentencepiece")], bytes(" a "));
  assert.equal(
    [...pieceBytes("▁<0x0A>", "spaces"), ...pieceBytes("<0x0A>", "spaces")],
    bytes(" <0x0A><0x0A>"),
  );
  for (const raw of ["<0x0A>", "▁a", "Ġa"]) assert.equal([...pieceBytes(raw, "text")], bytes(raw));
});

const settings = { bosId: null, eosIds: [], chatTemplate: undefined, source: "t" };
const sentence = { decoder: { type: "Metaspace", prepend_scheme: "always" } };

test("what ends a text: what the settings name, by id or by spelling, and known spellings of special tokens", () => {
  const added_tokens = [token(8, "<e>"), token(9, "<|im_end|>", { special: true }), token(10, "<|end|>")];
  const ends = (eosIds: number[], specialTokens?: Record<string, string>): readonly number[] =>
    atOnce(
      Tokenizer.from(
        { ...base, added_tokens },
        { ...settings, eosIds, ...(specialTokens && { specialTokens }) },
      ),
    ).eosIds;
  assert.equal(ends([]), [9]);
  assert.equal(ends([3, 1]), [3, 1, 9]);
  assert.equal(ends([3], { eos_token: "<e>" }), [3, 8, 9], "an added token");
  assert.equal(ends([3], { eos_token: "c" }), [3, 2, 9], "a token of the vocabulary");
  assert.equal(ends([3], { eos_token: "none", bos_token: "c" }), [3, 9]);
  assert.equal(ends([9, 8], { eos_token: "<e>" }), [9, 8], "each once");
});

test("a sentencepiece text loses its first space, and none behind a prompt", () => {
  const added_tokens = [token(9, "<s>", { special: true })];
  const tokenizer = atOnce(Tokenizer.from({ ...base, ...sentence, added_tokens }, settings));
  assert.is(tokenizer.decode([5, 5, 0, 5, 1]), " a b");
  assert.is(tokenizer.decode([0, 5, 1]), "a b");
  assert.is(tokenizer.decode([9, 5, 0]), "<s> a");
  assert.is(tokenizer.decode([9, 5, 0, 9], { special: false }), "a");
  assert.is(tokenizer.decode([99, 5, 0]), "a", "an id that stands for nothing is not the first");
  const behind = tokenizer.stream({ continued: true });
  assert.equal([behind.push(5), behind.push(0), behind.end()], [" ", "a", ""]);
  assert.is(open({}).decode([4, 0]), " a", "no letter of GPT-2's alphabet for U+0020: as it is");
});

test("a chat's message is refused where it becomes a special token, whatever it looks like before", () => {
  const chatTemplate = "a {{ messages[0].content }}";
  const added_tokens = [
    token(9, "<K>", { special: true, normalized: true }),
    token(10, "<e>", { special: true }),
    token(11, "b<", { normalized: true }),
  ];
  const json = { ...base, normalizer: { type: "NFC" }, added_tokens };
  const tokenizer = atOnce(Tokenizer.from(json, { ...settings, chatTemplate }));
  for (const [content, spelled] of [
    ["<K>", "<K>"],
    ["<\u212a>", "<K>"], // the sign of Kelvin, of which NFC makes a K
    ["b<e>", "<e>"], // where b< comes first, but is sought later
  ] as const)
    assert.throws(
      () => tokenizer.chat([{ role: "user", content }]),
      new RegExp(`a message spells the special token "${spelled}"`),
      content,
    );
  tokenizer.chat([{ role: "user", content: "b< e>" }]);
});

test("a chat begins as its template says, with the spellings that the files have", () => {
  const chatTemplate =
    "{{ bos_token }}|{{ eos_token }}|{{ messages[0].content }}{% if add_generation_prompt %}c{% endif %}";
  const post = template([special("c"), A]);
  const of = (more: object): Tokenizer =>
    atOnce(Tokenizer.from({ ...base, ...post }, { ...settings, chatTemplate, ...more }));
  const messages = [{ role: "user", content: "a" }];
  assert.is(of({}).chatText(messages), "||ac");
  assert.is(of({ bosId: 0, eosIds: [1, 2] }).chatText(messages), "a|b|ac");
  const specialTokens = { bos_token: "ab", eos_token: "c" };
  assert.is(of({ bosId: 0, eosIds: [1], specialTokens }).chatText(messages), "ab|c|ac");
  assert.is(of({}).chatText(messages, { addGenerationPrompt: false }), "||a");
  assert.equal(of({}).chat(messages), [0, 2], "what the template does not write is not put in front");
  assert.equal(of({}).chat(messages, { addGenerationPrompt: false }), [0]);
  assert.equal([of({}).hasChatTemplate, of({ chatTemplate: undefined }).hasChatTemplate], [true, false]);
  assert.throws(
    () => of({ chatTemplate: undefined }).chatText(messages),
    /^t: this model has no chat template/,
  );
  assert.throws(
    () => of({ chatTemplate: "{{ raise_exception('no\\nsystem') }}" }).chatText(messages),
    /^t: the chat template fails on these messages: "no\\nsystem"/,
  );
});

test("a text in parts: what is put around it, no more than asked for, and turns of others meanwhile", async () => {
  const tokenizer = open(template([special("c"), A, special(" ")]));
  const parts = ["ab", "", "a", "b", "ba"];
  assert.equal([...(await tokenizer.encodeParts(parts))], [2, 3, 3, 1, 0, 4]);
  assert.equal([...(await tokenizer.encodeParts(parts, { special: false }))], [3, 3, 1, 0]);
  assert.equal([...(await tokenizer.encodeParts(parts, { most: 2 }))], [2, 3]);
  assert.equal([...(await tokenizer.encodeParts(parts, { most: 6 }))], [2, 3, 3, 1, 0, 4]);
  assert.equal([...(await tokenizer.encodeParts([]))], [2, 4]);
  const long = "ab".repeat(200_000);
  let turns = 0;
  const ids = await tokenizer.encodeParts([long], { special: false, onTurn: () => void turns++ });
  assert.ok(ids.length === 200_000 && ids.every((id) => id === 3));
  assert.ok(turns > 0, "400,000 letters take longer than a turn");
  const stop = new Error("stop");
  const stopped = tokenizer.encodeParts([long], {
    onTurn: () => {
      throw stop;
    },
  });
  assert.is(await stopped.catch((error: unknown) => error), stop);
});

test("a text in which no place to cut is known is refused before it fills the memory", async () => {
  const tokenizer = open({ pre_tokenizer: { type: "ByteLevel", use_regex: false } });
  let given = 0;
  const parts = function* (): Generator<string> {
    for (; given < 40; given++) yield "x".repeat(2 ** 20);
  };
  const error: unknown = await tokenizer.encodeParts(parts()).catch((e: unknown) => e);
  assert.instance(error, BadInputError);
  assert.match((error as BadInputError).message, "16777216 characters without a place between words");
  assert.is(given, 16, "read until there were more than that");
});

const rule = { lstrip: false, rstrip: false, single_word: false, special: false };

test("whether an added token is near a place of a text", () => {
  const spellings = ["ab", "abba", "c", "bab"];
  const added = new AddedTokens(spellings.map((spelling, id) => ({ id, spelling, ...rule })));
  fc.assert(
    fc.property(
      fc.string({ unit: fc.constantFrom("a", "b", "c", ..."xyzxyz"), maxLength: 24 }),
      fc.nat(24),
      (text, cut) => {
        const sure = cut >= 5 && cut + 5 <= text.length; // as many as the longest has, and one more
        const found = spellings.some((s) =>
          Array.from(text).some((_, i) => text.startsWith(s, i) && i <= cut + 1 && i + s.length >= cut - 1),
        );
        assert.is(added.near(text, cut), !sure || found, `${text} at ${cut}`);
      },
    ),
    { numRuns: 3000 },
  );
  assert.not(new AddedTokens([]).near("", 0), "there is none");
});

test("patterns that leave some kind of character out", () => {
  const all = (pattern: string): boolean => matchesAll(wordPattern(pattern, "t"));
  const kinds = [
    String.raw`[^\r\n\p{L}\p{N}]?\p{L}+`,
    String.raw`\p{N}`,
    String.raw` ?[^\s\p{L}\p{N}]+`,
    String.raw`\s+`,
  ];
  assert.ok(all(kinds.join("|")));
  for (const missing of kinds.keys())
    assert.not(all(kinds.filter((_, i) => i !== missing).join("|")), kinds[missing] ?? "");
  assert.not(all(String.raw`[\p{L}\p{M}]+`.replace(/^/, String.raw`[^\r\n\p{L}\p{N}]?`)));
});

test.run();
