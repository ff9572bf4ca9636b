/**
 * The temporary LoRA itself: A and B beside a model's linear layers, y = x·wᵀ + s·(x·Aᵀ)·Bᵀ with s = alpha / r. A fresh adapter
 * is an exact no-op (B = 0). It holds values only; gradients and moments are the optimiser's, and the model's own weights are
 * never written. Hu et al. 2021, https://arxiv.org/abs/2106.09685; initial values are peft's defaults.
 */
import { at } from "../kernels/base/at.ts";
import { DisposableStack } from "../engine/disposables.ts";
import type { LinearLayer } from "../engine/ops/linear_group.ts";
import { Parameters } from "../engine/parameters.ts";
import { Purpose, stream, uniforms } from "../engine/random.ts";
import type { Tensor } from "../engine/tensor.ts";
import { type LinearName, linearNames } from "../model/layers.ts";
import type { LinearAdapter, Llama } from "../model/llama.ts";
import type { AdapterConfig } from "./config.ts";

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
  /** Scale of B·A: lora_alpha / r. */
  readonly scale: number;
  readonly #dropout: number;
  readonly #seed: number;
  /** By layer, then by name. */
  readonly #loras: readonly ReadonlyMap<LinearName, Lora>[];

  /** A fresh adapter beside `model`; the caller disposes of it. */
  constructor({ device, weights }: Llama, config: AdapterConfig, seed: number) {
    using stack = new DisposableStack();
    const { rank, alpha, dropout } = config;
    this.scale = alpha / rank;
    this.#dropout = dropout;
    this.#seed = seed;
    const targets = linearNames.filter((target) => config.targets.includes(target));
    const nameOf = (layer: number, target: LinearName): string => `layers.${layer}.${target}`;
    // The As of a layer lie one after the other: those of one input are then one matrix to `linearGroup`.
    const specs = weights.layers.flatMap((layer, i) => [
      ...targets.map((target) => ({
        name: `${nameOf(i, target)}.A`,
        shape: [rank, at(layer[target].shape, 1)],
      })),
      ...targets.map((target) => ({
        name: `${nameOf(i, target)}.B`,
        shape: [at(layer[target].shape, 0), rank],
      })),
    ]);
    this.parameters = stack.use(new Parameters(device, specs));
    this.#loras = weights.layers.map((of, layer) => {
      const beside = (target: LinearName): [LinearName, Lora] => {
        const name = nameOf(layer, target);
        const inputs = at(of[target].shape, 1);
        const values = kaimingUniform(seed, placeOf(layer, target), rank * inputs, inputs);
        this.parameters.set(`${name}.A`, values);
        const [A, B] = [this.parameters.get(`${name}.A`), this.parameters.get(`${name}.B`)];
        return [target, { A, B, scale: this.scale, dropout: null }];
      };
      return new Map(targets.map(beside));
    });
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
