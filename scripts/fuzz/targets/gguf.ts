/** A model in one GGUF file, or in several: opened, its tensors read, a text encoded and decoded, a conversation put into its template. */
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { openModelFiles } from "../../../model/model_files.ts";
import { filesOf } from "../files.ts";
import type { Target } from "../target.ts";
import { speak } from "./speak.ts";

export const gguf: Target = {
  async run(input, folder) {
    const files = [...filesOf(input, "").values()];
    const name = (i: number): string => {
      const [part, of] = [i + 1, files.length].map((n) => String(n).padStart(5, "0"));
      return join(folder, files.length === 1 ? "model.gguf" : `model-${part}-of-${of}.gguf`);
    };
    for (const [i, bytes] of files.entries()) writeFileSync(name(i), bytes);
    const model = await openModelFiles(name(0));
    try {
      for (const tensor of model.tensors.keys()) for await (const _ of model.parts(tensor));
      await speak(model.tokenizer);
    } finally {
      await model.close();
    }
  },
};
