/** config.json of a model's folder, and what a run asks of it: its tensors, its modules, its RoPE for more positions. */
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { servingPositions } from "../../../model/config.ts";
import { extended } from "../../../model/extend.ts";
import { describeFolder } from "../../../model/families/index.ts";
import { readJson } from "../../../model/json_file.ts";
import { expectedTensors } from "../../../model/model_files.ts";
import { modulesOf } from "../../../templora/modules.ts";
import type { Target } from "../target.ts";

export const config: Target = {
  async run(input, folder) {
    const path = join(folder, "config.json");
    writeFileSync(path, input);
    const described = describeFolder(await readJson(path, 2 ** 24), path);
    for (const _ of expectedTensors(described.family, described.config));
    modulesOf(described);
    servingPositions(described.config, 2 * described.config.max_position_embeddings);
    extended(described.config, { method: "yarn", factor: 4 });
  },
};
