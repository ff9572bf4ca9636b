/** Tokenizers: the same ids as transformers and the original tokenizers library, and nothing lost on the way back. */
import { at } from "../kernels/base/at.ts";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import fc from "fast-check";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { cacheFolder } from "../engine/backends/host/files.ts";
import { tokenizerFromHuggingFace } from "../model/folder_tokenizer.ts";
import { openModelFiles } from "../model/model_files.ts";
import { tokenizerFromGguf } from "../model/gguf_tokenizer.ts";
import { LibraryTokenizer } from "../model/hf_tokenizers.ts";
import type { Message, Tokenizer } from "../model/tokenizer.ts";
import { mobyDickText } from "../scripts/moby-dick.ts";
import { goldenFolder, readGolden } from "./support/golden.ts";
import { byteTokens, smallGguf } from "./support/model_files.ts";
import { unless } from "./support/skip.ts";

interface Case {
  readonly text: string;
  readonly ids: readonly number[];
  readonly decoded: string;
}

const smollm2 = join(cacheFolder(), "smollm2-135m.gguf");
const withSmolLM2 = unless(existsSync(smollm2) ? undefined : "npm run fetch:smollm2 was not run", test);

async function tokenizerOf(path: string): Promise<Tokenizer> {
  const modelFiles = await openModelFiles(path);
  await modelFiles.close();
  return modelFiles.tokenizer;
}
const tiny = await tokenizerOf(fileURLToPath(new URL("tiny-tied", goldenFolder)));

function checkCases(tokenizer: Tokenizer, cases: readonly Case[]): void {
  for (const { text, ids, decoded } of cases) {
    assert.equal(tokenizer.encode(text, { special: false }), ids, text);
    assert.is(tokenizer.decode(ids), decoded);
  }
}

for (const name of ["tiny-tied", "tiny-untied"]) {
  test(`${name}: ids and texts as transformers has them`, async () => {
    const { tokenizer_cases } = readGolden<{ tokenizer_cases: Case[] }>(`${name}/golden.json`);
    checkCases(await tokenizerOf(fileURLToPath(new URL(name, goldenFolder))), tokenizer_cases);
  });
}

withSmolLM2("SmolLM2 from GGUF metadata: ids, texts and chats as transformers has them", async () => {
  const golden = readGolden<{
    tokenizer_cases: Case[];
    chat: { messages: Message[]; add_generation_prompt: boolean; text: string; ids: number[] }[];
  }>("smollm2.json");
  const tokenizer = await tokenizerOf(smollm2);
  checkCases(tokenizer, golden.tokenizer_cases);
  for (const { messages, add_generation_prompt: addGenerationPrompt, text, ids } of golden.chat) {
    assert.is(tokenizer.chatText(messages, { addGenerationPrompt }), text);
    assert.equal(tokenizer.chat(messages, { addGenerationPrompt }), ids);
  }
  assert.equal([tokenizer.bosId, tokenizer.eosIds, tokenizer.vocabSize], [1, [2, 0], 49152]);
});

withSmolLM2("a chapter of Moby-Dick there and back; cached words change nothing", async () => {
  const tokenizer = await tokenizerOf(smollm2);
  const text = mobyDickText().slice(0, 100_000);
  const ids = tokenizer.encode(text);
  assert.is(tokenizer.decode(ids), text);
  assert.equal(tokenizer.encode(text), ids);
});

// Texts that are difficult to split: emoji of many code points, digits beyond ASCII, unusual spaces.
const awkward = fc.constantFrom(
  ..."a,Z,é,ß,e\u0301,５,٣,²,½,Ⅷ, ,  ,\n,\r\n,\t,\u00a0,\u3000,\x85,\ufeff,\u200b,'s,'LL,n't,12345,!!,...,鲸,🐋,👨‍👩‍👧,<|bos|>,<|bos,_,\0".split(
    ",",
  ),
  ",",
);
const text = fc.oneof(
  fc.string({ unit: "binary", maxLength: 40 }),
  fc.array(awkward, { maxLength: 30 }).map((parts) => parts.join("")),
);

test("decode(encode(text)) is the text", () => {
  fc.assert(
    fc.property(text, (t) => assert.is(tiny.decode(tiny.encode(t)), t)),
    { numRuns: 500 },
  );
});

test("word by word gives what the library gives for the whole", () => {
  const json = readGolden<Record<string, unknown>>("tiny-tied/tokenizer.json");
  const isolate = (Regex: string): object => ({
    type: "Split",
    pattern: { Regex },
    behavior: "Isolated",
    invert: false,
  });
  const words = String.raw`'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+`;
  const pre_tokenizer = {
    type: "Sequence",
    pretokenizers: [isolate(words), { type: "ByteLevel", add_prefix_space: false, use_regex: false }],
  };
  const library = new LibraryTokenizer({ ...json, pre_tokenizer }, {});
  fc.assert(
    fc.property(text, (t) =>
      assert.equal(tiny.encode(t), library.encode(t, { add_special_tokens: false }).ids),
    ),
    { numRuns: 500 },
  );
});

test("a stream of ids gives the text of all of them, whole characters only", () => {
  fc.assert(
    fc.property(fc.array(fc.nat(287), { maxLength: 40 }), (ids) => {
      const stream = tiny.stream();
      const parts = ids.map((id) => stream.push(id));
      assert.is(parts.join("") + stream.end(), tiny.decode(ids));
    }),
  );
  const whale = tiny.encode("a🐋b");
  const stream = tiny.stream();
  assert.equal(
    whale.map((id) => stream.push(id)),
    ["a", "", "", "", "🐋", "b"],
  );
  assert.is(stream.push(at(whale, 1)) + stream.end(), "\ufffd", "an end inside a character");
});

test("special tokens: written in a text, left out of it, put around it", () => {
  assert.equal(tiny.encode("<|bos|>!<|eos|>"), [0, 2, 1]);
  assert.is(tiny.decode([0, 2, 1]), "<|bos|>!<|eos|>");
  assert.is(tiny.decode([0, 2, 1], { special: false }), "!");
  assert.throws(() => tiny.chat([{ role: "user", content: "hi" }]), /no chat template/);
  const metadata = new Map(Object.entries({ ...smallGguf().metadata, "tokenizer.ggml.add_bos_token": true }));
  const withBos = tokenizerFromGguf(metadata, { bosId: 256, eosIds: [256] }, "test");
  assert.equal(withBos.encode("th"), [256, 257]);
  assert.equal(withBos.encode(""), [256]);
  assert.equal(withBos.encode("th", { special: false }), [257]);
});

test("chat templates, and their errors", () => {
  const of = (template: string): Tokenizer =>
    tokenizerFromGguf(
      new Map(Object.entries({ ...smallGguf().metadata, "tokenizer.chat_template": template })),
      { bosId: 256, eosIds: [256] },
      "test",
    );
  const template =
    "{% for m in messages %}{{ bos_token + m['role'] + ':' + m['content'] }}{% endfor %}{% if add_generation_prompt %}>{% endif %}";
  const message = { role: "user", content: "th" };
  assert.is(of(template).chatText([message]), "<|end|>user:th>");
  assert.is(of(template).chat([message], { addGenerationPrompt: false }).at(-1), 257);
  assert.throws(() => of("{{ raise_exception('no') }}").chat([message]), /chat template/);
  assert.throws(() => of("{% for").chat([message]), /chat template/);
});

// Ids by tokenizers 0.23.3 (Rust). The vocabulary joins every two neighbouring bytes of these texts, so that ids tell
// where each pre-tokenizer splits.
const splitTexts = [
  "In 1851: x²½ ٣５ Ⅷ",
  "I'll DON'T we'D",
  "a\ufeffb\x85c\u00a0 d",
  "  12  34\n\n 5\t6",
  "...!!\r\n  é鲸🐋",
  "a \ufeff! \x85 b",
];
const llama3 = String.raw`(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+`;
const byteLevel = { type: "ByteLevel", add_prefix_space: false, trim_offsets: true, use_regex: true };
// prettier-ignore
const splits: readonly [string, object, readonly (readonly number[])[]][] = [
  [
    "ByteLevel",
    byteLevel,
    [
      [256, 258, 260, 49, 58, 264, 266, 268, 270, 272, 274, 276, 278],
      [73, 280, 108, 283, 285, 39, 84, 289, 101, 39, 68],
      [97, 294, 191, 98, 298, 99, 301, 303],
      [32, 258, 50, 32, 307, 52, 310, 312, 9, 54],
      [315, 316, 33, 13, 311, 320, 322, 324, 326, 328],
      [97, 32, 294, 331, 32, 298, 335],
    ],
  ],
  [
    "Digits",
    { type: "Sequence", pretokenizers: [{ type: "Digits", individual_digits: true }, byteLevel] },
    [
      [256, 32, 49, 56, 53, 49, 58, 264, 266, 268, 32, 271, 273, 149, 32, 277, 167],
      [73, 280, 108, 283, 285, 39, 84, 289, 101, 39, 68],
      [97, 294, 191, 98, 298, 99, 301, 303],
      [304, 49, 50, 304, 51, 52, 310, 32, 53, 9, 54],
      [315, 316, 33, 13, 311, 320, 322, 324, 326, 328],
      [97, 32, 294, 331, 32, 298, 335],
    ],
  ],
  [
    "Llama 3's Split",
    {
      type: "Sequence",
      pretokenizers: [
        { type: "Split", pattern: { Regex: llama3 }, behavior: "Isolated", invert: false },
        { ...byteLevel, use_regex: false },
      ],
    },
    [
      [256, 32, 259, 53, 49, 58, 264, 266, 268, 32, 271, 273, 149, 32, 277, 167],
      [73, 280, 108, 283, 285, 287, 289, 101, 292],
      [97, 294, 296, 298, 99, 301, 303],
      [32, 32, 305, 32, 32, 308, 310, 32, 53, 9, 54],
      [315, 316, 318, 10, 32, 320, 322, 324, 326, 328],
      [97, 32, 294, 331, 32, 298, 335],
    ],
  ],
];
for (const [name, pre_tokenizer, expected] of splits) {
  test(`${name} splits as the original library does`, () => {
    const vocab = new Map(byteTokens.map((token, id) => [token, id]));
    const merges: [string, string][] = [];
    for (const text of splitTexts) {
      const bytes = [...new TextEncoder().encode(text)].map((byte) => at(byteTokens, byte));
      for (let i = 1; i < bytes.length; i++) {
        const [left, right] = [at(bytes, i - 1), at(bytes, i)];
        if (vocab.has(left + right)) continue;
        vocab.set(left + right, vocab.size);
        merges.push([left, right]);
      }
    }
    const model = { type: "BPE", vocab: Object.fromEntries(vocab), merges };
    const json = { pre_tokenizer, decoder: { type: "ByteLevel" }, model };
    const tokenizer = tokenizerFromHuggingFace(json, {}, { bos_token_id: null, eos_token_ids: [] }, "test");
    splitTexts.forEach((text, i) => assert.equal(tokenizer.encode(text), expected[i], JSON.stringify(text)));
  });
}

test("sentencepiece from GGUF: merges by score, bytes, spaces, as the original library does", () => {
  const bytes = Array.from({ length: 256 }, (_, i) => `<0x${i.toString(16).toUpperCase().padStart(2, "0")}>`);
  const words = [
    "▁t",
    "he",
    "▁the",
    "▁▁",
    "in",
    "▁in",
    "th",
    "▁th",
    "er",
    "▁▁▁▁",
    "▁",
    "t",
    "h",
    "e",
    "i",
    "n",
    "r",
    "a",
    "b",
    "ab",
    "aba",
    "▁a",
  ];
  const tokens = ["<unk>", "<s>", "</s>", ...bytes, ...words];
  const metadata = new Map(
    Object.entries({
      "tokenizer.ggml.model": "llama",
      "tokenizer.ggml.tokens": tokens,
      "tokenizer.ggml.scores": tokens.map((_, i) => (i < 259 ? 0 : 259 - i)),
      "tokenizer.ggml.token_type": tokens.map((_, i) => (i === 0 ? 2 : i < 3 ? 3 : i < 259 ? 6 : 1)),
    }),
  );
  const tokenizer = tokenizerFromGguf(metadata, { bosId: 1, eosIds: [2] }, "test");
  // by tokenizers 0.23.3, from the same vocabulary with transformers' generate_merges
  checkCases(tokenizer, [
    { text: "the tin ear", ids: [261, 259, 263, 269, 272, 276, 275], decoded: "the tin ear" },
    { text: "in  the    end", ids: [264, 269, 261, 268, 272, 274, 103], decoded: "in  the    end" },
    { text: "ababa é🐋", ids: [269, 278, 279, 269, 198, 172, 243, 162, 147, 142], decoded: "ababa é🐋" },
    { text: "<s>the</s> in", ids: [1, 261, 2, 262, 263], decoded: "<s> the</s>  in" },
  ]);
  assert.equal(tokenizer.encode("the"), [1, 261], "begins with <s> by default");
  const stream = tokenizer.stream({ continued: true });
  assert.is(stream.push(261) + stream.end(), " the");
});

test.run();
