/** All that templora reads from files and from the hub. */
import type { Target } from "../target.ts";
import { adapter } from "./adapter.ts";
import { checkpoint } from "./checkpoint.ts";
import { config } from "./config.ts";
import { divisors } from "./divisors.ts";
import { gguf } from "./gguf.ts";
import { hub } from "./hub.ts";
import { pairs } from "./pairs.ts";
import { safetensors } from "./safetensors.ts";
import { tokenizer } from "./tokenizer.ts";

export const targets: Readonly<Record<string, Target>> = {
  ...{
    safetensors,
    gguf,
    "tokenizer.json": tokenizer,
    "config.json": config,
    pairs,
    checkpoint,
    adapter,
    hub,
  },
  divisors,
};
