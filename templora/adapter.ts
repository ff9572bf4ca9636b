/**
 * The temporary LoRA itself: A and B beside a model's linear layers. A fresh adapter is an exact no-op (B = 0). It is
 * active (x·wᵀ + s·(x·Aᵀ)·Bᵀ), merged (w + s·B·A in place of w) or off.
 * Hu et al. 2021, https://arxiv.org/abs/2106.09685; initial values are peft's defaults.
 */
import type { Engine } from "../engine/engine.ts";
import { embedding } from "../engine/ops/embedding.ts";
import { linear, loraLinear } from "../engine/ops/linear.ts";
import { Parameters } from "../engine/parameters.ts";
import { Purpose, stream, uniforms } from "../engine/random.ts";
import type { Tensor } from "../engine/tensor.ts";
import { matmul_nn_acc } from "../kernels/matmul/matmul.ts";
import type { LinearAdapter, LinearName, Llama } from "../model/llama.ts";
import { type Recipe, type Target, allTargets } from "./config.ts";

export type AdapterState = "active" | "merged" | "off";

export class Adapter implements LinearAdapter {
  /** Counts updates; a cache stamped with an older version is stale. */
  version = 0;
  /** Set while training: the optimiser step that the dropout masks belong to. */
  trainingStep: number | null = null;
  readonly parameters: Parameters;
  readonly #model: Llama;
  readonly #recipe: Recipe;
  readonly #seed: number;
  readonly #targets: ReadonlySet<LinearName>;
  #state: AdapterState = "active";
  readonly #merged = new Map<string, Tensor>();

  /** A fresh adapter beside `model`; its owner disposes of it. */
  constructor(model: Llama, recipe: Recipe, seed: number) {
    this.#model = model;
    this.#recipe = recipe;
    this.#seed = seed;
    this.#targets = new Set(recipe.targets);
    const specs = this.#modules().flatMap(({ layer, target }) => {
      const [out = 0, inputs = 0] = this.#weight(layer, target).shape;
      return [
        { name: `layers.${layer}.${target}.A`, shape: [recipe.rank, inputs] },
        { name: `layers.${layer}.${target}.B`, shape: [out, recipe.rank] },
      ];
    });
    this.parameters = new Parameters(model.engine, specs);
    for (const { layer, target } of this.#modules()) {
      const [, inputs = 0] = this.#weight(layer, target).shape;
      const values = kaimingUniform(seed, moduleIndex(layer, target), recipe.rank * inputs, inputs);
      this.parameters.set(`layers.${layer}.${target}.A`, values);
    }
  }

  get state(): AdapterState {
    return this.#state;
  }

  /** Scale of B·A: lora_alpha / r. */
  get scale(): number {
    return this.#recipe.alpha / this.#recipe.rank;
  }

  linear(engine: Engine, layer: number, name: LinearName, x: Tensor, w: Tensor): Tensor {
    if (this.#state === "off" || !this.#targets.has(name)) return linear(engine, { x, w }, {});
    const key = `layers.${layer}.${name}`;
    const merged = this.#merged.get(key);
    if (merged) return linear(engine, { x, w: merged }, {});
    const { dropout: p } = this.#recipe;
    const step = this.trainingStep;
    const masks = p > 0 && step !== null;
    const dropout = masks
      ? { p, seed: this.#seed, stream: stream(Purpose.dropout, moduleIndex(layer, name)), step }
      : null;
    const [A, B] = [this.parameters.get(`${key}.A`), this.parameters.get(`${key}.B`)];
    return loraLinear(engine, { x, w, A, B }, { scale: this.scale, dropout });
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
    const { engine } = this.#model;
    using scope = engine.scope();
    for (const { layer, target } of this.#modules()) {
      const key = `layers.${layer}.${target}`;
      const merged = scope.detach(widened(engine, this.#weight(layer, target)));
      const [A, B] = [this.parameters.get(`${key}.A`), this.parameters.get(`${key}.B`)];
      engine.run(matmul_nn_acc, { a: B, w: A, c: merged }, { alpha: this.scale });
      this.#merged.set(key, merged);
    }
    this.#state = "merged";
  }

  /** Forgets what was learnt: a fresh adapter again. */
  dispose(): void {
    this.#unmerge();
    this.parameters.dispose();
  }

  #unmerge(): void {
    for (const tensor of this.#merged.values()) tensor.dispose();
    this.#merged.clear();
  }

  #modules(): { layer: number; target: Target }[] {
    return this.#model.weights.layers.flatMap((_, layer) =>
      allTargets.filter((t) => this.#targets.has(t)).map((target) => ({ layer, target })),
    );
  }

  #weight(layer: number, target: Target): Tensor {
    const weights = this.#model.weights.layers[layer];
    if (!weights) throw new RangeError(`no layer ${layer}`);
    return weights[target];
  }
}

/** An f32 copy of a weight in any storage format: a gather of all its rows. */
function widened(engine: Engine, w: Tensor): Tensor {
  const rows = Int32Array.from({ length: w.shape[0] ?? 0 }, (_, i) => i);
  return embedding(engine, { ids: engine.tensor(rows), w });
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
