/**
 * Dynamic evaluation, a neighbour of Temp-LoRA: what is learnt is a change of the model's own tensors, in f32 beside them and 0 at
 * first: of whole linear layers, y = x·wᵀ + x·Dᵀ, or of the norms' gains and the biases. The model is never written, so that it may
 * be quantised, and weight decay draws towards it, as the paper's does. Krause et al. 2018, https://arxiv.org/abs/1709.07432.
 */
import { BadInputError } from "../engine/errors.ts";
import type { LinearLayer } from "../engine/ops/linear_group.ts";
import { type ParameterSpec, Parameters } from "../engine/parameters.ts";
import type { Tensor } from "../engine/tensor.ts";
import type { NormName } from "../model/family.ts";
import { type LinearName, linearNames } from "../model/layers.ts";
import type { LinearAdapter, Llama } from "../model/llama.ts";
import type { Recipe } from "./config.ts";
import type { StoredAdapter } from "./stored_adapter.ts";

export class Deltas implements LinearAdapter, Disposable {
  /** Called as what they are beside: `layers.0.q_proj`, `layers.0.q_proj.bias`, `layers.0.pre_attention_norm`, `norm`. */
  readonly parameters: Parameters;
  readonly loaded = false;
  readonly #adapt: Recipe["adapt"];
  readonly #deltas: ReadonlyMap<string, Tensor>;

  /** The caller disposes of it. */
  constructor(
    { device, weights }: Llama,
    { adapt, targets, layers }: Pick<Recipe, "adapt" | "targets" | "layers">,
  ) {
    const learnt = (name: string): boolean =>
      adapt === "full" ? targets.some((target) => target === name) : !linearNames.some((one) => one === name);
    const specs: ParameterSpec[] = [];
    const lowest = layers === 0 ? 0 : weights.layers.length - layers;
    weights.layers.forEach((tensors, layer) => {
      if (layer < lowest) return;
      for (const [name, { shape }] of Object.entries(tensors))
        if (learnt(name)) specs.push({ name: nameOf(layer, name), shape });
    });
    if (learnt("norm")) specs.push({ name: "norm", shape: weights.norm.shape });
    const parameters = new Parameters(device, specs);
    this.parameters = parameters;
    this.#adapt = adapt;
    this.#deltas = new Map(specs.map(({ name }) => [name, parameters.get(name)]));
  }

  /** See LinearAdapter. */
  get revision(): number {
    return this.parameters.revision;
  }

  linear(layer: number, name: LinearName, w: Tensor): LinearLayer {
    const of = (part: string): Tensor | null => this.#deltas.get(nameOf(layer, part)) ?? null;
    return { w, lora: null, delta: of(name), biasDelta: of(`${name}.bias`) };
  }

  norm(layer: number | null, name: NormName | "norm"): Tensor | null {
    return this.#deltas.get(layer === null ? name : nameOf(layer, name)) ?? null;
  }

  /** Refused: peft's format holds LoRAs. */
  store(): Promise<StoredAdapter> {
    return Promise.reject(new BadInputError(`adapt ${this.#adapt}: ${NOT_KEPT}`));
  }

  /** The model is what it was. */
  dispose(): void {
    this.parameters.dispose();
  }

  [Symbol.dispose](): void {
    this.dispose();
  }
}

/** Why nothing of it can be saved. */
export const NOT_KEPT = "what it learns is no LoRA, and only a LoRA can be kept, in peft's format";

const nameOf = (layer: number, name: string): string => `layers.${layer}.${name}`;
