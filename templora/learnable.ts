/** What a session learns beside its model: a recipe's `adapt` says which. */
import type { Parameters } from "../engine/parameters.ts";
import type { LinearAdapter, Llama } from "../model/llama.ts";
import { Adapter } from "./adapter.ts";
import type { Recipe } from "./config.ts";
import { Deltas } from "./deltas.ts";
import type { StoredAdapter } from "./stored_adapter.ts";

/** Values beside a frozen model, which learning changes and nothing else: without them the model is what it was. */
export interface Learnable extends LinearAdapter, Disposable {
  readonly parameters: Parameters;
  /** It began with another's values. */
  readonly loaded: boolean;
  /** A copy on the host; rejects with BadInputError where it is no LoRA. */
  store(): Promise<StoredAdapter>;
  dispose(): void;
}

/** A fresh one, which changes nothing yet, or what `stored` holds. The caller disposes of it. */
export function learnable(
  model: Llama,
  recipe: Recipe,
  seed: number,
  stored: StoredAdapter | null = null,
): Learnable {
  return recipe.adapt === "lora" ? new Adapter(model, recipe, seed, stored) : new Deltas(model, recipe);
}
