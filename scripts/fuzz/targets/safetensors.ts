/** model.safetensors; or, where the input is JSON, model.safetensors.index.json of a model in two files. */
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { InputFile } from "../../../model/file.ts";
import { openSafetensorsFolder } from "../../../model/safetensors.ts";
import type { Target } from "../target.ts";
import { tensorFile } from "./tensor_file.ts";

export const safetensors: Target = {
  prepare(folder) {
    mkdirSync(join(folder, "model"), { recursive: true });
    for (const name of ["a", "b"])
      writeFileSync(join(folder, "model", `${name}.safetensors`), tensorFile({ [name]: [2, 2] }));
    // what a way out would find
    writeFileSync(join(folder, "../outside.safetensors"), tensorFile({ outside: [2, 2] }));
    writeFileSync(join(folder, "outside.safetensors"), tensorFile({ outside: [2, 2] }));
  },
  async run(input, folder) {
    const isIndex =
      /^\s*[[{]/.test(Buffer.from(input.subarray(0, 8)).toString("latin1")) && input[8] !== 0x7b;
    const place = join(folder, "model");
    writeFileSync(join(place, isIndex ? "model.safetensors.index.json" : "model.safetensors"), input);
    const files: InputFile[] = [];
    try {
      const tensors = await openSafetensorsFolder(place, isIndex ? "sharded" : "single", files);
      for (const { file, start, bytes } of tensors.values()) await file.read(start, bytes);
    } finally {
      for (const file of files) await file.close();
    }
  },
};
