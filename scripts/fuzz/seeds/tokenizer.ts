/** tokenizer.json in the manner of each kind that templora reads, and with the files that stand beside it. */
import { inputOf } from "../files.ts";
import { chatTemplate, golden, tokens, write } from "./write.ts";

const ids = (list: readonly string[]): Record<string, number> =>
  Object.fromEntries(list.map((token, id) => [token, id]));
const begin = { id: 0, content: "<s>", special: true, normalized: false };
const bytes = Array.from({ length: 256 }, (_, i) => `<0x${i.toString(16).toUpperCase().padStart(2, "0")}>`);
const byteLevel = { type: "ByteLevel", add_prefix_space: false, use_regex: false };
const single = [{ SpecialToken: { id: "<s>", type_id: 0 } }, { Sequence: { id: "A", type_id: 0 } }];

const sentencepiece = {
  added_tokens: [{ ...begin, lstrip: true, rstrip: true, single_word: true }],
  normalizer: {
    type: "Sequence",
    normalizers: [
      { type: "Prepend", prepend: "▁" },
      { type: "Replace", pattern: { String: " " }, content: "▁" },
    ],
  },
  post_processor: {
    ...{ type: "TemplateProcessing", single },
    special_tokens: { "<s>": { id: "<s>", ids: [0], tokens: ["<s>"] } },
  },
  decoder: {
    type: "Sequence",
    decoders: [
      { type: "Replace", pattern: { String: "▁" }, content: " " },
      ...[{ type: "ByteFallback" }, { type: "Fuse" }],
      { type: "Strip", content: " ", start: 1, stop: 0 },
    ],
  },
  model: {
    ...{ type: "BPE", unk_token: "</s>", fuse_unk: true, byte_fallback: true },
    ...{ vocab: ids([...tokens, ...bytes]), merges: ["a b"] },
  },
};

export function tokenizerSeeds(): void {
  const { model, ...around } = golden("families/llama/tokenizer.json");
  const bpe = { ...(model as object), vocab: ids(tokens), merges: [["a", "b"]] };
  write("tokenizer.json", "llama", { ...around, added_tokens: [begin], model: bpe });
  write("tokenizer.json", "sentencepiece", sentencepiece);
  const plain = { added_tokens: [], model: { ...bpe, byte_fallback: false, unk_token: "a", fuse_unk: true } };
  const metaspace = { type: "Metaspace", replacement: "▁", prepend_scheme: "first", split: false };
  const composed = { pre_tokenizer: metaspace, decoder: metaspace, normalizer: { type: "NFC" } };
  write("tokenizer.json", "metaspace", { ...plain, ...composed });
  const digits = { type: "Digits", individual_digits: true };
  const split = { type: "Split", pattern: { Regex: "\\p{N}" }, behavior: "Isolated", invert: false };
  write("tokenizer.json", "split", {
    ...{ ...plain, normalizer: null, decoder: { type: "ByteLevel" } },
    pre_tokenizer: { type: "Sequence", pretokenizers: [digits, split, byteLevel] },
    post_processor: { type: "ByteLevel", trim_offsets: false },
  });
  const settings = {
    "tokenizer.json": {
      ...{ model: bpe, added_tokens: [begin, { id: 1, content: "</s>", special: true }] },
      ...{
        decoder: byteLevel,
        pre_tokenizer: { type: "ByteLevel", add_prefix_space: true, use_regex: true },
      },
    },
    "tokenizer_config.json": {
      ...{ bos_token: "<s>", eos_token: { content: "</s>" } },
      chat_template: [{ name: "default", template: chatTemplate }],
    },
    "generation_config.json": { eos_token_id: [1, 2] },
  };
  const files = Object.entries(settings).map(([name, json]) => [name, JSON.stringify(json)] as const);
  const more = "{% if add_generation_prompt and messages | length > 0 %}{{ bos_token }}{% endif %}";
  write("tokenizer.json", "settings", inputOf([...files, ["chat_template.jinja", chatTemplate + more]]));
}
