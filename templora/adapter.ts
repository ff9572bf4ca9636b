/**
 * The temporary LoRA itself: A and B beside a model's linear layers. A fresh adapter is an exact no-op (B = 0). It is
 * active (x·wᵀ + s·(x·Aᵀ)·Bᵀ), merged (w + s·B·A in place of w) or off.
 * Hu et al. 2021, https://arxiv.org/abs/2106.09685; initial values are peft's defaults.
 */
import type { Task } from "../engine/task.ts";
import { embedding } from "../engine/ops/embedding.ts";
import type { LinearLayer } from "../engine/ops/linear_group.ts";
import { Parameters } from "../engine/parameters.ts";
import { Purpose, stream, uniforms } from "../engine/random.ts";
import type { Tensor } from "../engine/tensor.ts";
import { matmul_nn_acc } from "../kernels/matmul/matmul.ts";
import type { LinearAdapter, LinearName, Llama } from "../model/llama.ts";
import { type Recipe, type Target, allTargets } from "./config.ts";

export type AdapterState = "active" | "merged" | "off";

/** An adapted layer of the model. */
interface Module {
  readonly layer: number;
  readonly target: Target;
  /** Of its parameters' names. */
  readonly name: string;
  /** The model's own weight, and what is beside it. */
  readonly w: Tensor;
  readonly lora: { readonly A: Tensor; readonly B: Tensor; readonly scale: number; readonly dropout: null };
  /** w + scale · B·A while merged. */
  merged: Tensor | null;
}

export class Adapter implements LinearAdapter {
  /** Counts updates; a cache stamped with an older version is stale. */
  version = 0;
  /** Set while training: the optimiser step that the dropout masks belong to. */
  trainingStep: number | null = null;
  readonly parameters: Parameters;
  readonly #task: Task;
  readonly #recipe: Recipe;
  readonly #seed: number;
  /** By layer, then by name. */
  readonly #modules: readonly ReadonlyMap<LinearName, Module>[];
  #state: AdapterState = "active";

  /** A fresh adapter beside `model`; its owner disposes of it. */
  constructor({ task, weights }: Llama, recipe: Recipe, seed: number) {
    this.#task = task;
    this.#recipe = recipe;
    this.#seed = seed;
    const { rank } = recipe;
    const targets = allTargets.filter((target) => recipe.targets.includes(target));
    const nameOf = (layer: number, target: Target): string => `layers.${layer}.${target}`;
    // The As of a layer lie one after the other: those of one input are then one matrix to `linearGroup`.
    const specs = weights.layers.flatMap((layer, i) => [
      ...targets.map((target) => ({ name: `${nameOf(i, target)}.A`, shape: [rank, layer[target].shape[1]] })),
      ...targets.map((target) => ({ name: `${nameOf(i, target)}.B`, shape: [layer[target].shape[0], rank] })),
    ]);
    this.parameters = new Parameters(task, specs);
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
      const [, inputs = 0] = w.shape;
      const values = kaimingUniform(seed, moduleIndex(layer, target), rank * inputs, inputs);
      this.parameters.set(`${name}.A`, values);
    }
  }

  get state(): AdapterState {
    return this.#state;
  }

  /** Scale of B·A: lora_alpha / r. */
  get scale(): number {
    return this.#recipe.alpha / this.#recipe.rank;
  }

  linear(layer: number, name: LinearName, w: Tensor): LinearLayer {
    const module = this.#modules[layer]?.get(name);
    if (!module || this.#state === "off") return { w, lora: null };
    if (module.merged) return { w: module.merged, lora: null };
    const { dropout: p } = this.#recipe;
    const step = this.trainingStep;
    if (p === 0 || step === null) return module;
    const masks = { p, seed: this.#seed, stream: stream(Purpose.dropout, moduleIndex(layer, name)), step };
    return { w, lora: { ...module.lora, dropout: masks } };
  }

  /** The model as it was before there was an adapter; A and B stay. */
  off(): void {
    this.#unmerge();
    this.#state = "off";
  }

  activate(): void {
    this.#unmerge();
    this.#state = "active";
  }

  /**
   * Folds s·B·A into f32 copies of the adapted weights: no skinny products while generating, for the memory of the copies.
   * The model's own weights are never written, so unmerging restores their bits.
   */
  merge(): void {
    this.#unmerge();
    const task = this.#task;
    using scope = task.scope();
    for (const module of this.#all()) {
      const { A, B } = module.lora;
      const merged = scope.detach(widened(task, module.w));
      task.run(matmul_nn_acc, { a: B, w: A, c: merged }, { alpha: this.scale });
      module.merged = merged;
    }
    this.#state = "merged";
  }

  /** Forgets what was learnt: a fresh adapter again. */
  dispose(): void {
    this.#unmerge();
    this.parameters.dispose();
  }

  #unmerge(): void {
    for (const module of this.#all()) {
      module.merged?.dispose();
      module.merged = null;
    }
  }

  #all(): Module[] {
    return this.#modules.flatMap((layer) => [...layer.values()]);
  }
}

/** An f32 copy of a weight in any storage format: a gather of all its rows. */
function widened(task: Task, w: Tensor): Tensor {
  const rows = Int32Array.from({ length: w.shape[0] ?? 0 }, (_, i) => i);
  return embedding(task, { ids: task.tensor(rows), w });
}

/** Numbers a module's random streams. */
function moduleIndex(layer: number, name: LinearName): number {
  return layer * allTargets.length + allTargets.indexOf(name);
}

/** peft's A: torch's kaiming_uniform_(a = √5), which is uniform in ±1/√fan_in. */
function kaimingUniform(seed: number, index: number, count: number, fanIn: number): Float32Array {
  const bound = 1 / Math.sqrt(fanIn);
  const u = uniforms(seed, stream(Purpose.init, index), 0, count);
  return Float32Array.from(u, (x) => (2 * x - 1) * bound);
}
