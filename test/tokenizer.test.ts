/** Tokenizers: the same ids as transformers and the original tokenizers library, and nothing lost on the way back. */
import { at } from "../kernels/base/at.ts";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import fc from "./support/fast_check.ts";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { type Steps, atOnce } from "../engine/turns.ts";
import { cacheFolder } from "../engine/backends/host/files.ts";
import { openModelFiles } from "../model/model_files.ts";
import { tokenizerFromGguf } from "../model/gguf_tokenizer.ts";
import { parseGguf } from "../model/gguf.ts";
import { type Message, Tokenizer } from "../model/tokenizer.ts";
import { mobyDickText } from "../scripts/moby-dick.ts";
import { goldenFolder, readGolden } from "./support/golden.ts";
import { byteTokens, ggufBytes, smallGguf } from "./support/model_files.ts";
import { unless } from "./support/skip.ts";

interface Case {
  readonly text: string;
  readonly ids: readonly number[];
  readonly decoded: string;
}

const smollm2 = join(cacheFolder(), "smollm2-135m.gguf");
const withSmolLM2 = unless(existsSync(smollm2) ? undefined : "templora pull smollm2-135m was not run", test);

async function tokenizerOf(path: string): Promise<Tokenizer> {
  const modelFiles = await openModelFiles(path);
  await modelFiles.close();
  return modelFiles.tokenizer;
}
const tiny = await tokenizerOf(fileURLToPath(new URL("tiny-tied", goldenFolder)));

function checkCases(tokenizer: Tokenizer, cases: readonly Case[]): void {
  for (const { text, ids, decoded } of cases) {
    assert.equal(tokenizer.encode(text, { special: false, parseSpecial: true }), ids, text);
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

test("GGUF: words are split as tokenizer.ggml.pre names it", () => {
  const metadata = {
    ...smallGguf().metadata,
    "tokenizer.ggml.tokens": [...byteTokens, "12", "'S", "/Ċ", "aB", "Ã©"],
    "tokenizer.ggml.token_type": [],
    "tokenizer.ggml.merges": ["1 2", "' S", "/ Ċ", "a B", "Ã ©"],
    "tokenizer.ggml.add_bos_token": false,
  };
  const [three, one] = [["12"], ["1", "2"]];
  for (const [pre, words] of [
    ["gpt-2", [...three, "I", "'", "S", ",", "/", "\n", "aB", "e", "\ufffd", "\ufffd"]],
    ["smollm", [...one, "I", "'", "S", ",", "/", "\n", "aB", "e", "\ufffd", "\ufffd"]],
    ...(["llama-bpe", "dbrx", "smaug-bpe"] as const).map(
      (pre) => [pre, [...three, "I", "'S", ",", "/\n", "aB", "e", "\ufffd", "\ufffd"]] as const,
    ),
    ...(["qwen2", "deepseek-r1-qwen"] as const).map(
      (pre) => [pre, [...one, "I", "'S", ",", "/\n", "aB", "é"]] as const, // composed
    ),
    // cased words: a B begins a word
    ["tekken", [...one, "I", "'S", ",", "/\n", "a", "B", "e", "\ufffd", "\ufffd"]],
    ["gpt-4o", [...three, "I", "'S", ",", "/\n", "a", "B", "e", "\ufffd", "\ufffd"]],
  ] as const) {
    const named = new Map(Object.entries({ ...metadata, "tokenizer.ggml.pre": pre }));
    const tokenizer = atOnce(tokenizerFromGguf(named, { bosId: null, eosIds: [] }, pre));
    assert.equal(
      tokenizer.encode("12I'S,/\naBe\u0301").map((id) => tokenizer.decode([id])),
      words,
      pre,
    );
  }
});

test("special tokens: written in a text, left out of it, put around it", () => {
  assert.equal(tiny.encode("<|bos|>!<|eos|>", { parseSpecial: true }), [0, 2, 1]);
  const text = tiny.encode("<|bos|>!<|eos|>");
  assert.ok(text.every((id) => id > 1) && tiny.decode(text) === "<|bos|>!<|eos|>", "text, unless asked for");
  assert.is(tiny.decode([0, 2, 1]), "<|bos|>!<|eos|>");
  assert.is(tiny.decode([0, 2, 1], { special: false }), "!");
  assert.throws(() => tiny.chat([{ role: "user", content: "hi" }]), /no chat template/);
  const metadata = new Map(Object.entries({ ...smallGguf().metadata, "tokenizer.ggml.add_bos_token": true }));
  const withBos = atOnce(tokenizerFromGguf(metadata, { bosId: 256, eosIds: [256] }, "test"));
  assert.equal(withBos.encode("th"), [256, 257]);
  assert.equal(withBos.encode(""), [256]);
  assert.equal(withBos.encode("th", { special: false }), [257]);
});

test("chat templates, and their errors", () => {
  const of = (template: string): Tokenizer =>
    atOnce(
      tokenizerFromGguf(
        new Map(Object.entries({ ...smallGguf().metadata, "tokenizer.chat_template": template })),
        { bosId: 256, eosIds: [256] },
        "test",
      ),
    );
  const template =
    "{% for m in messages %}{{ bos_token + m['role'] + ':' + m['content'] }}{% endfor %}{% if add_generation_prompt %}>{% endif %}";
  const message = { role: "user", content: "th" };
  assert.is(of(template).chatText([message]), "<|end|>user:th>");
  assert.is(of(template).chat([message], { addGenerationPrompt: false }).at(-1), 257);
  assert.throws(() => of("{{ raise_exception('no') }}").chat([message]), /chat template/);
  assert.throws(() => of("{% for").chat([message]), /chat template/);
  const spelled = { role: "user", content: "a<|end|>b" };
  assert.throws(
    () => of(template).chat([message, spelled]),
    /a message spells the special token "<\|end\|>"/,
  );
  const ids = of(template).chat([spelled], { parseSpecial: true });
  assert.is(ids.filter((id) => id === 256).length, 2);
});

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
  const tokenizer = atOnce(tokenizerFromGguf(metadata, { bosId: 1, eosIds: [2] }, "test"));
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

test("a large vocabulary is read in many small steps, from GGUF and from JSON", () => {
  const bytes = Array.from({ length: 256 }, (_, i) => `<0x${i.toString(16).toUpperCase().padStart(2, "0")}>`);
  const digits = Array.from({ length: 65_536 - 256 }, (_, i) => i.toString());
  const tokens = [...bytes, ...digits];
  const metadata = {
    "tokenizer.ggml.model": "llama",
    "tokenizer.ggml.tokens": tokens,
    "tokenizer.ggml.scores": tokens.map((_, id) => -id),
    "tokenizer.ggml.add_space_prefix": false,
  };
  const stepsOf = <T>(work: Steps<T>): readonly [value: T, steps: number] => {
    for (let steps = 0; ; steps++) {
      const step = work.next();
      if (step.done === true) return [step.value, steps];
    }
  };
  const file = ggufBytes(smallGguf(metadata));
  const [index, reading] = stepsOf(parseGguf(file, file.length, "test"));
  assert.ok(reading >= 2 * 16, `${reading} steps for tokens and scores`);
  const ids = { bosId: null, eosIds: [] };
  const [fromGguf, making] = stepsOf(
    tokenizerFromGguf(index?.metadata ?? new Map<never, never>(), ids, "test"),
  );
  assert.ok(making >= 5 * 16, `${making} steps: ids, merges by score, ids, merges, neighbours`);

  const merges = digits
    .filter((number) => number.length > 1)
    .map((number) => [number.slice(0, -1), number.slice(-1)]);
  const json = {
    model: {
      type: "BPE",
      vocab: Object.fromEntries(tokens.map((token, id) => [token, id])),
      merges,
      byte_fallback: true,
    },
    decoder: {
      type: "Sequence",
      decoders: [
        { type: "Replace", pattern: { String: "▁" }, content: " " },
        { type: "ByteFallback" },
        { type: "Fuse" },
      ],
    },
  };
  const settings = { ...ids, chatTemplate: undefined, source: "test" };
  const [fromJson, checking] = stepsOf(Tokenizer.from(json, settings));
  assert.ok(checking >= 3 * 16, `${checking} steps: ids, merges, their table`);
  // after 27, 65 and 279 the two are joined, for which the list has no merge
  assert.equal(fromGguf.encode("65279", { special: false }), [256 + 65_279]);
  assert.equal(fromJson.encode("65279"), [256 + 65, 256 + 279]);
});

test.run();
