/** What a hub answers when a model is pulled, and when it refuses. */
import { createHash } from "node:crypto";
import { write } from "./write.ts";

const commit = `${"0".repeat(39)}1`;
const facts = {
  ...{ _id: "1", id: "org/name", modelId: "org/name", sha: commit, private: false, gated: false },
  ...{ downloads: 0, likes: 0, tags: [], lastModified: "2026-01-01T00:00:00.000Z" },
};

/** Answers, one behind the other: of text as it is, of what else there is as JSON. */
const answers = (...all: readonly unknown[]): string =>
  all
    .map(
      (one) =>
        `200\ncontent-type: application/json\n\n${typeof one === "string" ? one : JSON.stringify(one)}`,
    )
    .join("\n-- \n");

/** A file as the hub lists it. */
function listed(path: string, content: string): object {
  const size = Buffer.byteLength(content);
  const isLarge = /\.(gguf|safetensors)$/.test(path);
  const hash = isLarge ? createHash("sha256") : createHash("sha1").update(`blob ${size}\0`);
  const oid = hash.update(content).digest("hex");
  const file = { type: "file", path, size };
  return isLarge ? { ...file, oid: commit, lfs: { oid, size, pointerSize: 130 } } : { ...file, oid };
}

export function hubSeeds(): void {
  const config = JSON.stringify({
    ...{ model_type: "llama", vocab_size: 8, hidden_size: 8, intermediate_size: 8 },
    ...{ num_hidden_layers: 1, num_attention_heads: 1 },
  });
  const both = [listed("config.json", config), listed("tokenizer.json", "{}")];
  write("hub", "gguf", answers(facts, [listed("sub/model.gguf", "GGUF")], "GGUF"));
  const whole = [...both, listed("model.safetensors", "tensors")];
  write("hub", "folder", answers(facts, whole, config, "{}", "tensors"));
  const index = JSON.stringify({ weight_map: { a: "a.safetensors" } });
  const sharded = [...both, listed("model.safetensors.index.json", index), listed("a.safetensors", "a")];
  write("hub", "index", answers(facts, sharded, index, config, "{}", index, "a"));
  const link = '<http://hub.test/api/models/org/name/tree/x?cursor=4>; rel="next"';
  const page = `200\nlink: ${link}\n\n${JSON.stringify([listed("a.gguf", "GGUF")])}`;
  write("hub", "pages", [answers(facts), page, answers([listed("../../x", "x")])].join("\n-- \n"));
  write("hub", "refused", "401\nx-error-code: GatedRepo\nx-error-message: no\n\n");
  write("hub", "busy", ["503\nretry-after: 1\n\n", "429\n\n", "cut", answers({})].join("\n-- \n"));
}
