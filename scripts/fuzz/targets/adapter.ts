/** peft's adapter_config.json and adapter_model.safetensors, for a model of one block; the folder is also looked at as a place for an adapter. */
import { rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { NonFiniteError } from "../../../engine/errors.ts";
import { describeFolder } from "../../../model/families/index.ts";
import { CONFIG, TENSORS, assertAdapterPlace, readAdapter } from "../../../templora/adapter_file.ts";
import { modulesOf } from "../../../templora/modules.ts";
import { filesOf } from "../files.ts";
import type { Target } from "../target.ts";

const modules = modulesOf(
  describeFolder({
    ...{ model_type: "llama", vocab_size: 8, hidden_size: 4, intermediate_size: 4, num_hidden_layers: 1 },
    ...{ num_attention_heads: 1, max_position_embeddings: 64 },
  }),
);

export const adapter: Target = {
  async run(input, folder) {
    const files = filesOf(input, CONFIG);
    for (const name of [CONFIG, TENSORS]) {
      const bytes = files.get(name);
      if (bytes) writeFileSync(join(folder, name), bytes);
      else rmSync(join(folder, name), { force: true });
    }
    await assertAdapterPlace(folder);
    await readAdapter(folder, modules);
  },
  expected: (error) => error instanceof NonFiniteError,
};
