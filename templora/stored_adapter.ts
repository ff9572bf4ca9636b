/**
 * An adapter on the host: what a file holds (adapter_file.ts), and what a session can begin with. Beside the values of A and B it
 * has what peft calls a LoRA's configuration, and what follows from that for each linear layer of a model.
 */
import { BadInputError } from "../engine/errors.ts";
import { type LinearName, linearNames } from "../model/layers.ts";
import type { Recipe } from "./config.ts";

/** What decides, in peft's adapter_config.json, what is computed; its names and meanings. */
export interface LoraConfig {
  readonly r: number;
  readonly lora_alpha: number;
  /** The scale is lora_alpha / √r, not lora_alpha / r. */
  readonly use_rslora: boolean;
  readonly target_modules: string | readonly string[];
  /** Ranks and alphas of the modules that a pattern matches. */
  readonly rank_pattern: Readonly<Record<string, number>>;
  readonly alpha_pattern: Readonly<Record<string, number>>;
}

/** Of the LoRA beside one linear layer. */
export interface LoraShape {
  readonly rank: number;
  /** Of B·A. */
  readonly scale: number;
}

/** A LoRA of this shape with its values: A [rank, in] and B [out, rank]. */
export interface Lora extends LoraShape {
  readonly A: Float32Array<ArrayBuffer>;
  readonly B: Float32Array<ArrayBuffer>;
}

/** The LoRAs of each block of a model, by their layers' names, in the order of `linearNames`. */
export type LoraLayout = readonly ReadonlyMap<LinearName, LoraShape>[];

/** The names of A and B among an adapter's parameters. */
export function parameterOf(layer: number, name: LinearName, matrix: "A" | "B"): string {
  return `layers.${layer}.${name}.${matrix}`;
}

/** What of a recipe is the adapter's own. */
export type AdapterRecipe = Pick<Recipe, "adapt" | "rank" | "alpha" | "scaling" | "targets" | "layers">;

/** What the adapter's configuration would be for a LoRA as the recipe has it, beside a model of `count` layers. */
export function configOf(
  { rank, alpha, scaling, targets, layers }: Omit<AdapterRecipe, "adapt">,
  count: number,
): LoraConfig {
  const adapted = Array.from({ length: count }, (_, i) => i).slice(-layers);
  const target_modules =
    layers === 0 ? targets : `.*\\.layers\\.(${adapted.join("|")})\\..*\\.(${targets.join("|")})`;
  return {
    ...{ r: rank, lora_alpha: alpha, use_rslora: scaling === "rslora", target_modules },
    ...{ rank_pattern: {}, alpha_pattern: {} },
  };
}

export class StoredAdapter {
  readonly config: LoraConfig;
  readonly layout: LoraLayout;
  /** A and B, as `parameterOf` calls them. */
  readonly values: ReadonlyMap<string, Float32Array<ArrayBuffer>>;
  /** Where it comes from, for messages. */
  readonly source: string;
  readonly #digest: string;

  private constructor(
    config: LoraConfig,
    layout: LoraLayout,
    values: ReadonlyMap<string, Float32Array<ArrayBuffer>>,
    source: string,
    digest: string,
  ) {
    this.config = config;
    this.layout = layout;
    this.values = values;
    this.source = source;
    this.#digest = digest;
  }

  static async of(
    config: LoraConfig,
    layout: LoraLayout,
    values: ReadonlyMap<string, Float32Array<ArrayBuffer>>,
    source: string,
  ): Promise<StoredAdapter> {
    const digests: string[] = [];
    for (const [name, array] of values) {
      const digest = await crypto.subtle.digest("SHA-256", array);
      digests.push(`${name} ${new Uint8Array(digest).join()}`);
    }
    const all = await crypto.subtle.digest("SHA-256", new TextEncoder().encode(digests.sort().join("\n")));
    const hex = Array.from(new Uint8Array(all), (byte) => byte.toString(16).padStart(2, "0")).join("");
    return new StoredAdapter(config, layout, values, source, hex);
  }

  /** The LoRAs of a block, with their values. */
  loras(layer: number): ReadonlyMap<LinearName, Lora> {
    const block = [...(this.layout[layer] ?? [])].map(([name, shape]): [LinearName, Lora] => {
      const [A, B] = (["A", "B"] as const).map((matrix) => this.values.get(parameterOf(layer, name, matrix)));
      if (!A || !B) throw new BadInputError("the adapter is incomplete");
      return [name, { ...shape, A, B }];
    });
    return new Map(block);
  }

  /** Its part of a recipe; modules that a pattern names may have other ranks and scales. */
  get recipe(): AdapterRecipe {
    const { r, lora_alpha, use_rslora } = this.config;
    const targets = linearNames.filter((name) => this.layout.some((block) => block.has(name)));
    const below = this.layout.findIndex((block) => block.size > 0);
    const layers = below > 0 ? this.layout.length - below : 0;
    return {
      adapt: "lora",
      rank: r,
      alpha: lora_alpha,
      scaling: use_rslora ? "rslora" : "lora",
      targets,
      layers,
    };
  }

  /** Refuses a recipe that asks for another adapter. `spell`: what the user calls a key. */
  assertAgrees(changes: Partial<Recipe>, spell = (key: string): string => `recipe.${key}`): void {
    const inOrder = (value: unknown): string =>
      Array.isArray(value) ? value.toSorted().join(",") : String(value);
    for (const [key, own] of Object.entries(this.recipe) as [keyof AdapterRecipe, unknown][]) {
      const { [key]: asked = own } = changes;
      if (inOrder(asked) !== inOrder(own))
        throw new BadInputError(
          `${spell(key)} ${String(asked)}: the adapter of ${this.source} has ${String(own)}; leave ${spell(key)} out`,
        );
    }
  }

  /** All that tells it from another adapter. */
  toJSON(): object {
    return { config: this.config, sha256: this.#digest };
  }
}
