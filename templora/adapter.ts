/**
 * The temporary LoRA itself: A and B beside a model's linear layers. A fresh adapter is an exact no-op (B = 0). It is
 * active (x·wᵀ + s·(x·Aᵀ)·Bᵀ), merged (w + s·B·A in place of w) or off. It holds values only; gradients and moments are the
 * trainer's. Hu et al. 2021, https://arxiv.org/abs/2106.09685; initial values are peft's defaults.
 */
import { at } from "../kernels/base/at.ts";
import { DisposableStack } from "../engine/disposables.ts";
import type { LinearLayer } from "../engine/ops/linear_group.ts";
import { Parameters, nextRevision } from "../engine/parameters.ts";
import { Purpose, stream, uniforms } from "../engine/random.ts";
import { Task } from "../engine/task.ts";
import { type Tensor, allocate } from "../engine/tensor.ts";
import { embedding } from "../kernels/embedding/embedding.ts";
import { matmul_nn_acc } from "../kernels/matmul/matmul.ts";
import { type LinearName, linearNames } from "../model/layers.ts";
import type { LinearAdapter, Llama } from "../model/llama.ts";
import type { AdapterConfig } from "./config.ts";

export type AdapterState = "active" | "merged" | "off";

/** An adapted layer of the model. */
interface Module {
  readonly layer: number;
  readonly target: LinearName;
  /** Prefix of its parameters' names. */
  readonly name: string;
  /** The model's own weight, and what is beside it. */
  readonly w: Tensor;
  readonly lora: { readonly A: Tensor; readonly B: Tensor; readonly scale: number; readonly dropout: null };
  /** w + scale · B·A while merged. */
  merged: Tensor | null;
}

export class Adapter implements LinearAdapter, Disposable {
  readonly parameters: Parameters;
  /** Changes when `linear` answers with other tensors than before. */
  layout = nextRevision();
  readonly #config: AdapterConfig;
  readonly #seed: number;
  /** By layer, then by name. */
  readonly #modules: readonly ReadonlyMap<LinearName, Module>[];
  #state: AdapterState = "active";
  /** Owns the merged weights. */
  #merged = new DisposableStack();
  /** Of the values that were merged. */
  #mergedRevision = 0;

  /** A fresh adapter beside `model`; its owner disposes of it. */
  constructor({ device, weights }: Llama, config: AdapterConfig, seed: number) {
    using stack = new DisposableStack();
    this.#config = config;
    this.#seed = seed;
    const { rank } = config;
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
    this.#modules = weights.layers.map(
      (weightsOfLayer, layer) =>
        new Map(
          targets.map((target) => {
            const name = nameOf(layer, target);
            const [A, B] = [this.parameters.get(`${name}.A`), this.parameters.get(`${name}.B`)];
            const lora = { A, B, scale: this.scale, dropout: null };
            return [target, { layer, target, name, w: weightsOfLayer[target], lora, merged: null }];
          }),
        ),
    );
    for (const { layer, target, name, w } of this.#all()) {
      const inputs = at(w.shape, 1);
      const values = kaimingUniform(seed, moduleIndex(layer, target), rank * inputs, inputs);
      this.parameters.set(`${name}.A`, values);
    }
    stack.move();
  }

  get state(): AdapterState {
    return this.#state;
  }

  /** Of values and state together: see LinearAdapter. */
  get revision(): number {
    return this.parameters.revision;
  }

  /** Scale of B·A: lora_alpha / r. */
  get scale(): number {
    return this.#config.alpha / this.#config.rank;
  }

  linear(layer: number, name: LinearName, w: Tensor, step: number | null): LinearLayer {
    const module = this.#modules[layer]?.get(name);
    if (!module || this.#state === "off") return { w, lora: null };
    if (module.merged) {
      if (this.#mergedRevision !== this.revision)
        throw new Error("the adapter has changed since it was merged: merge() it again");
      return { w: module.merged, lora: null };
    }
    const { dropout: p } = this.#config;
    if (p === 0 || step === null) return module;
    const masks = { p, seed: this.#seed, stream: stream(Purpose.dropout, moduleIndex(layer, name)), step };
    return { w, lora: { ...module.lora, dropout: masks } };
  }

  /** The model as it was before there was an adapter; A and B stay. */
  off(): void {
    this.#become("off");
  }

  activate(): void {
    this.#become("active");
  }

  /**
   * Folds s·B·A into f32 copies of the adapted weights: no skinny products while generating, for the memory of the copies.
   * The model's own weights are never written, so unmerging restores their bits.
   */
  merge(): void {
    const { device } = this.parameters;
    using stack = new DisposableStack();
    using task = new Task(device);
    const merged = this.#all().map(({ w, lora: { A, B, scale } }) => {
      const copy = stack.use(allocate(device, w.shape, "f32", "merged"));
      const rows = Int32Array.from({ length: at(w.shape, 0) }, (_, i) => i);
      task.run(embedding, { ids: task.tensor(rows), w }, {}, { into: { y: copy } }); // a gather of all rows widens them
      task.run(matmul_nn_acc, { a: B, w: A, c: copy }, { alpha: scale });
      return copy;
    });
    this.#become("merged");
    this.#merged = stack.move();
    for (const [i, module] of this.#all().entries()) module.merged = at(merged, i);
    this.#mergedRevision = this.revision;
  }

  #become(state: AdapterState): void {
    for (const module of this.#all()) module.merged = null;
    this.#merged[Symbol.dispose]();
    this.#state = state;
    this.layout = nextRevision();
    this.parameters.changed();
  }

  /** Forgets what was learnt: the model is what it was. */
  dispose(): void {
    this.#merged[Symbol.dispose]();
    this.parameters.dispose();
  }

  [Symbol.dispose](): void {
    this.dispose();
  }

  #all(): Module[] {
    return this.#modules.flatMap((layer) => [...layer.values()]);
  }
}

/** Numbers a module's random streams. */
function moduleIndex(layer: number, name: LinearName): number {
  return layer * linearNames.length + linearNames.indexOf(name);
}

/** peft's A: torch's kaiming_uniform_(a = √5), which is uniform in ±1/√fan_in. */
function kaimingUniform(seed: number, index: number, count: number, fanIn: number): Float32Array {
  const bound = 1 / Math.sqrt(fanIn);
  const u = uniforms(seed, stream(Purpose.init, index), 0, count);
  return Float32Array.from(u, (x) => (2 * x - 1) * bound);
}
