/** Keys of a recipe that only some of its choices read. What is given explicitly and not read is refused (cli/recipe.ts). */
import { type Recipe, adapts } from "./config.ts";

type Choice = { readonly [K in keyof Recipe]?: readonly Recipe[K][] };

const lora: Choice = { adapt: ["lora"] };

/** Under which values of another key a key is read; a key that is not here always is. */
const readUnder: { readonly [K in keyof Recipe]?: Choice } = {
  rank: lora,
  alpha: lora,
  scaling: lora,
  dropout: lora,
  init: lora,
  loraplus_lr_ratio: lora,
  targets: { adapt: adapts.filter((name) => name !== "norms") },
  beta2: { optimizer: ["adamw"] },
  eps: { optimizer: ["adamw"] },
};

/** The key and value of a recipe under which nothing reads `key`; null where something does. */
export function unreadUnder(key: keyof Recipe, recipe: Recipe): readonly [keyof Recipe, string] | null {
  for (const [other, values] of Object.entries(readUnder[key] ?? {})) {
    const value = recipe[other as keyof Recipe];
    if (!(values as readonly unknown[]).includes(value)) return [other as keyof Recipe, String(value)];
  }
  return null;
}
