/** --extend longrope:FILE, and a model that is extended by what the file says. */
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { extension } from "../../../cli/parsers.ts";
import { extended } from "../../../model/extend.ts";
import { describeFolder } from "../../../model/families/index.ts";
import type { Target } from "../target.ts";

const { config } = describeFolder({
  ...{ model_type: "llama", vocab_size: 8, hidden_size: 8, intermediate_size: 8, num_hidden_layers: 1 },
  ...{ num_attention_heads: 1, max_position_embeddings: 64 },
});

export const divisors: Target = {
  run(input, folder) {
    const path = join(folder, "divisors.json");
    writeFileSync(path, input);
    extended(config, extension("--extend")(`longrope:${path}`));
  },
};
