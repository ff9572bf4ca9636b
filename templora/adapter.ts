/**
 * The temporary LoRA itself: A and B beside a model's linear layers, y = x·wᵀ + s·(x·Aᵀ)·Bᵀ with s = alpha / r. A fresh adapter
 * is an exact no-op (B = 0); one from a file may have other ranks and scales from layer to layer. It holds values only; gradients and moments are the optimiser's, and the model's own weights are
 * never written. Hu et al. 2021, https://arxiv.org/abs/2106.09685; initial values are peft's defaults.
 */
import { at } from "../kernels/base/at.ts";
import { DisposableStack } from "../engine/disposables.ts";
import { BadInputError } from "../engine/errors.ts";
import type { LinearLayer } from "../engine/ops/linear_group.ts";
import { Parameters } from "../engine/parameters.ts";
import { Purpose, stream, uniforms } from "../engine/random.ts";
import type { Tensor } from "../engine/tensor.ts";
import { type LinearName, linearNames } from "../model/layers.ts";
import type { LinearAdapter, Llama } from "../model/llama.ts";
import type { AdapterConfig, Scaling } from "./config.ts";
import {
  type LoraConfig,
  type LoraLayout,
  type LoraShape,
  StoredAdapter,
  configOf,
  parameterOf,
} from "./stored_adapter.ts";

/** The adapter's two matrices beside one linear layer [out, in], without dropout: A [r, in] and B [out, r]. */
interface Lora {
  readonly A: Tensor;
  readonly B: Tensor;
  readonly scale: number;
  readonly dropout: null;
}

export class Adapter implements LinearAdapter, Disposable {
  /** A and B of every adapted layer, called `layers.0.q_proj.A` and so on. */
  readonly parameters: Parameters;
  /** It began with another's values. */
  readonly loaded: boolean;
  readonly #config: LoraConfig;
  readonly #layout: LoraLayout;
  readonly #dropout: number;
  readonly #seed: number;
  /** By layer, then by name. */
  readonly #loras: readonly ReadonlyMap<LinearName, Lora>[];

  /** An adapter beside `model`: a fresh one, or what `stored` holds, whose ranks and scales it then has. The caller disposes of it. */
  constructor(
    { device, weights }: Llama,
    config: AdapterConfig,
    seed: number,
    stored: StoredAdapter | null = null,
  ) {
    using stack = new DisposableStack();
    const { rank, alpha, scaling, dropout, layers } = config;
    const count = weights.layers.length;
    this.#dropout = dropout;
    this.#seed = seed;
    const targets = linearNames.filter((target) => config.targets.includes(target));
    const lowest = layers === 0 ? 0 : count - layers;
    const fresh = weights.rowNorms.map((norms, i) => {
      const scales: Readonly<Record<Scaling, (name: LinearName) => number>> = {
        lora: () => alpha / rank,
        rslora: () => alpha / Math.sqrt(rank),
        weight: (name) => Number((alpha * norms[name]).toPrecision(9)) / rank, // what a file's alpha says exactly
      };
      const shapeOf = (name: LinearName): LoraShape => ({ rank, scale: scales[scaling](name) });
      return new Map((i < lowest ? [] : targets).map((name) => [name, shapeOf(name)]));
    });
    const layout: LoraLayout = stored?.layout ?? fresh;
    if (layout.length !== count)
      throw new BadInputError(
        `the adapter has ${layout.length} layers, the model ${count}: it is another model's`,
      );
    this.loaded = stored !== null;
    this.#layout = layout;
    this.#config = stored?.config ?? configOf({ rank, alpha, scaling, targets, layers }, count);
    // The As of a layer lie one after the other: those of one input are then one matrix to `linearGroup`.
    const specs = weights.layers.flatMap((layer, i) => {
      const loras = [...at(layout, i)];
      return [
        ...loras.map(([target, { rank }]) => ({
          name: parameterOf(i, target, "A"),
          shape: [rank, at(layer[target].shape, 1)],
        })),
        ...loras.map(([target, { rank }]) => ({
          name: parameterOf(i, target, "B"),
          shape: [at(layer[target].shape, 0), rank],
        })),
      ];
    });
    this.parameters = stack.use(new Parameters(device, specs));
    const { parameters } = this;
    this.#loras = layout.map((loras, layer) => {
      const beside = ([target, { scale }]: [LinearName, LoraShape]): [LinearName, Lora] => {
        const [a, b] = [parameterOf(layer, target, "A"), parameterOf(layer, target, "B")];
        const [A, B] = [parameters.get(a), parameters.get(b)];
        if (!stored)
          parameters.set(a, kaimingUniform(seed, placeOf(layer, target), A.length, at(A.shape, 1)));
        return [target, { A, B, scale, dropout: null }];
      };
      return new Map([...loras].map(beside));
    });
    for (const [name, values] of stored?.values ?? []) parameters.set(name, values);
    stack.move();
  }

  /** See LinearAdapter. */
  get revision(): number {
    return this.parameters.revision;
  }

  linear(layer: number, name: LinearName, w: Tensor, step: number | null): LinearLayer {
    const lora = this.#loras[layer]?.get(name) ?? null;
    if (!lora || step === null || this.#dropout === 0) return { w, lora };
    const place = stream(Purpose.dropout, placeOf(layer, name));
    return { w, lora: { ...lora, dropout: { p: this.#dropout, seed: this.#seed, stream: place, step } } };
  }

  /** A copy on the host. */
  async store(): Promise<StoredAdapter> {
    const values = new Map<string, Float32Array<ArrayBuffer>>();
    for (const { name } of this.parameters.specs)
      values.set(name, Float32Array.from(await this.parameters.get(name).data()));
    return StoredAdapter.of(this.#config, this.#layout, values, "a session");
  }

  /** Throws A and B away: the model is what it was. */
  dispose(): void {
    this.parameters.dispose();
  }

  [Symbol.dispose](): void {
    this.dispose();
  }
}

/** Number of a linear layer among those of all blocks: tells their random streams apart. */
function placeOf(layer: number, name: LinearName): number {
  return layer * linearNames.length + linearNames.indexOf(name);
}

/** peft's A: torch's kaiming_uniform_(a = √5), which is uniform in ±1/√fan_in. */
function kaimingUniform(seed: number, index: number, count: number, fanIn: number): Float32Array {
  const bound = 1 / Math.sqrt(fanIn);
  const u = uniforms(seed, stream(Purpose.init, index), 0, count);
  return Float32Array.from(u, (x) => (2 * x - 1) * bound);
}
