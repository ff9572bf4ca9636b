/** config.json of every family, as the golden models have it, and RoPE of every kind. */
import { families } from "../../../model/families/index.ts";
import { golden, write } from "./write.ts";

interface Case {
  readonly name: string;
  readonly family: string;
  readonly changes: object;
  readonly without: readonly string[];
}

/** Of test/golden/keys.json. */
const ropes = [
  ...["linear in rope_scaling, as type", "llama3", "yarn, mscale", "nested yarn", "rope_scaling empty"],
];

export function configSeeds(): void {
  const configOf = (family: string): object => golden(`families/${family}/config.json`);
  for (const { model_type } of families) write("config.json", model_type, configOf(model_type));
  const cases = golden("keys.json")["cases"] as readonly Case[];
  for (const { name, family, changes, without } of cases.filter(({ name }) => ropes.includes(name))) {
    const kept = Object.entries({ ...configOf(family), ...changes }).filter(
      ([key]) => !without.includes(key),
    );
    write("config.json", name.replaceAll(/\W+/g, "-"), Object.fromEntries(kept));
  }
  write("config.json", "longrope", { ...configOf("phi3"), num_hidden_layers: 2 });
}
