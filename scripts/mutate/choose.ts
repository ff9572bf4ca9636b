/** Which mutants are tried, and which of them change nothing that anybody can see. */
import { readFileSync } from "node:fs";
import { type Mutant, hash } from "./plant.ts";

/** In the order that the seed gives: each mutant's place in it depends on no other. */
export function inOrder(mutants: readonly Mutant[], seed: number): Mutant[] {
  const ranks = new Map(mutants.map((mutant) => [mutant, hash(`${seed} ${mutant.id}`)]));
  const rank = (mutant: Mutant): string => ranks.get(mutant) ?? "";
  return [...mutants].sort((a, b) => (rank(a) < rank(b) ? -1 : 1));
}

const identifying = ["file", "text", "before", "after"] as const;
type Listed = Readonly<Record<(typeof identifying)[number] | "why", string>>;

/** Those that equivalent.json lists, each with the reason; throws where it lists what is no longer there. */
export function equivalents(mutants: readonly Mutant[]): ReadonlySet<Mutant> {
  const list = readFileSync(new URL("equivalent.json", import.meta.url), "utf8");
  const found = (JSON.parse(list) as readonly Listed[]).flatMap((listed) => {
    const these = mutants.filter((mutant) => identifying.every((key) => mutant[key] === listed[key]));
    if (these.length === 0)
      throw new Error(`scripts/mutate/equivalent.json: ${listed.file} no longer has ${listed.text}`);
    return these;
  });
  return new Set(found);
}
