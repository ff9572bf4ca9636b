/** Every source of end tokens: each token that a model's files name, or that is known by its spelling, stops a text or never comes. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { generate, loadModel, openDevice } from "../templora/index.ts";
import { atOnce } from "../engine/turns.ts";
import { openModelFiles } from "../model/model_files.ts";
import { tokenizerFromGguf } from "../model/gguf_tokenizer.ts";
import { changedModel } from "./support/changed_model.ts";
import { jsonLines, templora } from "./support/cli.ts";
import { goldenFolder } from "./support/golden.ts";
import { ggufBytes, smallGguf } from "./support/model_files.ts";

const test = suite("end tokens");
const folder = mkdtempSync(join(tmpdir(), "templora-ends-"));
test.after(() => rmSync(folder, { recursive: true }));
process.env["TEMPLORA_CACHE"] = join(folder, "cache");

type Json = Record<string, unknown>;
const model = join(folder, "model");
const edit = (name: string, changes: (json: Json) => Json): void => {
  const path = join(model, name);
  writeFileSync(path, JSON.stringify(changes(JSON.parse(readFileSync(path, "utf8")) as Json)));
};
// All logits are 0, so that the greedy choice is the first id that is not banned.
changedModel(fileURLToPath(new URL("tiny-tied", goldenFolder)), model, "model.norm.weight", (w) => w.fill(0));
edit("config.json", (json) => ({ ...json, bos_token_id: 9, eos_token_id: 0 }));
writeFileSync(join(model, "generation_config.json"), JSON.stringify({ eos_token_id: [0, 1, 2] }));
edit("tokenizer.json", (json) => {
  const bpe = json["model"] as { vocab: Record<string, number> };
  const [third, fourth, fifth] = [3, 4, 5].map((id) =>
    Object.keys(bpe.vocab).find((key) => bpe.vocab[key] === id),
  );
  const respelled = {
    [third ?? ""]: "<|finish|>",
    [fourth ?? ""]: "<|im_end|>",
    [fifth ?? ""]: "<|eot_id|>",
  };
  const vocab = Object.fromEntries(Object.entries(bpe.vocab).map(([key, id]) => [respelled[key] ?? key, id]));
  const added = Object.values(respelled).map((content, i) => ({
    id: 3 + i,
    content,
    special: i < 2,
    normalized: false,
  }));
  return { ...json, model: { ...bpe, vocab }, added_tokens: [...(json["added_tokens"] as Json[]), ...added] };
});
edit("tokenizer_config.json", (json) => ({
  ...json,
  eos_token: { content: "<|finish|>", __type: "AddedToken" },
  bos_token: "<|start|>",
  chat_template: "{{ bos_token }}{{ messages[0].content }}{{ eos_token }}",
}));
const run = "generate --prompt whale --tokens 3 --no-templora --chunk 64 --device cpu --json -".split(" ");

test("a folder: config.json, generation_config.json, tokenizer_config.json and known spellings of special tokens", async () => {
  await using modelFiles = await openModelFiles(model);
  const { tokenizer } = modelFiles;
  assert.equal(tokenizer.eosIds, [0, 1, 2, 3, 4]); // 5 is <|eot_id|>, but no special token
  assert.is(tokenizer.chatText([{ role: "user", content: "?" }]), "<|start|>?<|finish|>");
});

test("each of them is banned, or stops the text; the run says which", async () => {
  const write = async (...flags: string[]): Promise<[Json | undefined, Json | undefined, string]> => {
    const { code, stdout, stderr } = await templora([...run, "--model", model, ...flags]);
    assert.is(code, 0, stderr);
    const lines = jsonLines(stdout);
    return [lines[0], lines.at(-1), stderr];
  };
  const [config, summary, notes] = await write();
  assert.equal(config?.["end_tokens"], [0, 1, 2, 3, 4]);
  assert.is(summary?.["generated"], "<|eot_id|>".repeat(3), "the first id that is not banned is 5");
  assert.match(notes, /never chooses <\|bos\|>, <\|eos\|>, .*<\|finish\|>, <\|im_end\|>\n/);
  const [, stopped, said] = await write("--stop-at-eos");
  assert.equal([stopped?.["generated"], stopped?.["generated_tokens"]], ["", 0], "the first id is 0");
  assert.match(said, /stops at <\|bos\|>/);
});

test("each of them stops a text by itself", async () => {
  await using device = await openDevice("cpu", { threads: 1 });
  using loaded = await loadModel(device, model);
  const stopIds = loaded.tokenizer.eosIds;
  for (const end of [...stopIds, 5]) {
    const banIds = Array.from({ length: end }, (_, id) => id); // so that `end` is chosen
    const events = generate(loaded, "whale", {
      tokens: 3,
      chunk: 64,
      window: 64,
      templora: false,
      stopIds,
      banIds,
    });
    let written = 0;
    for await (const _ of events) written++;
    assert.is(written, stopIds.includes(end) ? 0 : 3, `id ${end}`);
  }
});

test("generation_config.json is checked", async () => {
  const path = join(model, "generation_config.json");
  const before = readFileSync(path);
  for (const [content, says] of [
    [
      '{"eos_token_id": [0, 288]}',
      /generation_config\.json: eos_token_id 288 is outside the vocabulary of 288/,
    ],
    ['{"eos_token_id": "no"}', /generation_config\.json: eos_token_id: expected a whole number/],
    ["[]", /generation_config\.json: expected a JSON object/],
  ] as const) {
    writeFileSync(path, content);
    const { code, stderr } = await templora([...run, "--model", model]);
    assert.is(code, 2);
    assert.match(stderr, says);
  }
  writeFileSync(path, before);
});

test("GGUF: eos, and control tokens of known spellings", () => {
  const { metadata } = smallGguf();
  const tokens = [
    ...(metadata["tokenizer.ggml.tokens"] as string[]),
    "<|eot_id|>",
    "<end_of_turn>",
    "<|im_end|>",
  ];
  const types = tokens.map((_, id) => (id === tokens.length - 1 ? 1 : id < 256 ? 1 : id === 257 ? 1 : 3));
  const all = { ...metadata, "tokenizer.ggml.tokens": tokens, "tokenizer.ggml.token_type": types };
  const { eosIds } = atOnce(
    tokenizerFromGguf(new Map(Object.entries(all)), { bosId: 256, eosIds: [256] }, "test"),
  );
  assert.equal(eosIds, [256, tokens.indexOf("<|eot_id|>"), tokens.indexOf("<end_of_turn>")]);
});

test("GGUF: the ends of a text, of a turn and of a message that its keys name", async () => {
  const path = join(folder, "keys.gguf");
  for (const [keys, ids] of [
    [{ eos: 7 }, [7]],
    [{ eos: 7, eot: 5 }, [7, 5]],
    [{ eos: 7, eot: 5, eom: 3 }, [7, 5, 3]],
    [{ eos: 7, eom: 7 }, [7]],
  ] as const) {
    const metadata = Object.entries(keys).map(([key, id]) => [`tokenizer.ggml.${key}_token_id`, id]);
    writeFileSync(path, ggufBytes(smallGguf(Object.fromEntries(metadata) as Record<string, number>)));
    await using modelFiles = await openModelFiles(path);
    assert.equal(modelFiles.config.eos_token_ids, ids);
  }
});

test.run();
