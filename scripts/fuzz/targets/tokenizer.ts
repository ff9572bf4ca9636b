/** tokenizer.json, and beside it, in an input of several files, the files that say more of a tokenizer. */
import { rmSync, writeFileSync } from "node:fs";
import { basename, join } from "node:path";
import { folderTokenizer } from "../../../model/folder_tokenizer.ts";
import { filesOf } from "../files.ts";
import type { Target } from "../target.ts";
import { speak } from "./speak.ts";

const NAMES = [
  "tokenizer.json",
  "tokenizer_config.json",
  "special_tokens_map.json",
  "generation_config.json",
  "chat_template.jinja",
];

export const tokenizer: Target = {
  async run(input, folder) {
    const files = filesOf(input, "tokenizer.json");
    for (const name of NAMES) {
      const bytes = files.get(name);
      if (bytes) writeFileSync(join(folder, basename(name)), bytes);
      else rmSync(join(folder, basename(name)), { force: true });
    }
    await speak(await folderTokenizer(folder, { bos_token_id: 0, eos_token_ids: [1], vocab_size: 1000 }));
  },
};
