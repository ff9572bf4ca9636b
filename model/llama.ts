/**
 * The forward pass of Llama and its relatives, readable top to bottom: token ids in, hidden states out; prefill, decoding with a
 * cache and training share it. Touvron et al. 2023, https://arxiv.org/abs/2302.13971; conventions are Hugging Face's (half-split
 * RoPE, weights (out, in), eps inside the root). What differs between families and layers is data (family.ts, LayerFacts). A
 * model has no state of any run: tasks share it, and what a pass needs is in the pass.
 *
 * Symbols: T tokens, D hidden_size, H num_attention_heads, G num_key_value_heads, E head_dim, F intermediate_size, V vocab_size.
 */
import { at } from "../kernels/base/at.ts";
import { checkpoint as keepingInput } from "../engine/checkpoint.ts";
import type { Device } from "../engine/device.ts";
import { DisposableStack } from "../engine/disposables.ts";
import { BadInputError, ShapeError } from "../engine/errors.ts";
import {
  type LinearLayer,
  add,
  addLinear,
  attention,
  deltaNorm,
  embedding,
  geglu,
  jointAttention,
  linear,
  linearCrossEntropy,
  linearDivergence,
  linearGroup,
  reshape,
  rmsNorm,
  rope,
  ropeCache,
  rows,
  softCap,
  swiglu,
} from "../engine/ops/index.ts";
import { type Task, taskOf } from "../engine/task.ts";
import type { Tensor } from "../engine/tensor.ts";
import type { Family, NormName } from "./family.ts";
import type { ModelFiles } from "./model_files.ts";
import type { ModelConfig } from "./config.ts";
import type { KVCache, LayerKeys } from "./kv_cache.ts";
import type { LinearName } from "./layers.ts";
import { type Places, following, placesOf } from "./places.ts";
import { type RopeConfig, RopeTables, unturned } from "./rope.ts";
import type { Tokenizer } from "./tokenizer.ts";
import { type ModelWeights, type OnProgress, loadWeights } from "./weights.ts";

/** Something that takes part in a block's linear layers, such as a LoRA, or in norms. */
export interface LinearAdapter {
  /** Stamps the caches made with it: another number after every change of its values, and never that of another adapter. */
  readonly revision: number;
  /**
   * What the linear layer `name` of block `layer` computes; w [out, in] is its frozen weight. `step`: see Pass. While it is null,
   * the same layer, name and weight give the same tensors every time: a decoder replays the kernel calls of one token.
   */
  linear(layer: number, name: LinearName, w: Tensor, step: number | null): LinearLayer;
  /** What is added to the gain of a norm of block `layer`, or of the norm after the last one; null = nothing. */
  norm?(layer: number | null, name: NormName | "norm"): Tensor | null;
}

/** Key-side restrictions of attention; both 0 for full causal attention. */
export interface AttentionSpan {
  readonly window: number;
  readonly sinks: number;
}

/** A layer by its number, or what comes before and after the layers. */
export type ModelPart = number | "embed_tokens" | "norm" | "lm_head";

/** How one forward pass goes. */
export interface Pass {
  readonly adapter?: LinearAdapter | null;
  /** Reads keys and values of earlier tokens from here, as constants, and appends its own. */
  readonly cache?: KVCache | null;
  /** First token whose hidden state is wanted: the last layer computes only keys and values of those before. */
  readonly from?: number;
  /** Restricts what each token sees; default: what the family says of each layer. */
  readonly span?: AttentionSpan;
  /** Rotary position of each token [T]; default: they follow those in the cache. A tensor i32[T] where `from` is 0. */
  readonly positions?: Int32Array | Tensor;
  /** How many of the first blocks keep only their input while a tape records, and run again in the backward. */
  readonly checkpointLayers?: number;
  /** Called with what each part of the model gives: the embedding, each layer, the last norm. It must issue its reads at once. */
  readonly watch?: (x: Tensor, part: ModelPart) => void;
  /** Called with what each linear layer reads; it must issue its reads at once, too. */
  readonly linears?: (layer: number, name: LinearName, x: Tensor) => void;
  /** Training: the optimiser step whose dropout masks the adapter draws; null, the default = no dropout. */
  readonly step?: number | null;
}

/** What all blocks of a pass have in common. */
interface Shared extends Places {
  readonly pass: Pass;
  /** First token that has a query: in the last block, the pass's `from`. */
  readonly from: number;
  /** Tokens in the cache before. */
  readonly past: number;
  /** One token and no tape: the residual stream is added to where it lies. */
  readonly inPlace: boolean;
}

/** The queries [N, H, E] that have far keys, and these with their values [S2, G, E]. */
interface FarPart {
  readonly q: Tensor;
  readonly k: Tensor;
  readonly v: Tensor;
  /** Position of the first query among them. */
  readonly past: number;
}

export class Llama implements Disposable {
  readonly device: Device;
  readonly config: ModelConfig;
  readonly weights: ModelWeights;
  readonly #modelFiles: ModelFiles;
  /** One for each layer; for a layer without RoPE, one that turns nothing. */
  readonly #ropes: readonly RopeConfig[];
  readonly #tables: RopeTables;
  readonly #owned: DisposableStack;

  private constructor(device: Device, modelFiles: ModelFiles, weights: ModelWeights) {
    const { config } = modelFiles;
    using stack = new DisposableStack();
    stack.use(weights);
    this.#modelFiles = modelFiles;
    this.device = device;
    this.config = config;
    this.weights = weights;
    this.#ropes = config.layers.map(({ rope }) => rope ?? unturned(config.head_dim));
    this.#tables = stack.use(new RopeTables(device, this.#ropes));
    this.#owned = stack.move();
  }

  /** The caller disposes of the model; its files may be closed. */
  static async load(device: Device, modelFiles: ModelFiles, onProgress?: OnProgress): Promise<Llama> {
    return new Llama(device, modelFiles, await loadWeights(device, modelFiles, { onProgress }));
  }

  /** Its memory alone, on a device that counts it. */
  static async unfilled(device: Device, modelFiles: ModelFiles): Promise<Llama> {
    return new Llama(device, modelFiles, await loadWeights(device, modelFiles, { filled: false }));
  }

  /** The file or folder that it was loaded from. */
  get source(): string {
    return this.#modelFiles.source;
  }

  get family(): Family {
    return this.#modelFiles.family;
  }

  get tokenizer(): Tokenizer {
    return this.#modelFiles.tokenizer;
  }

  /** How many positions RoPE's tables hold. A captured pass serves until they grow. */
  get positions(): number {
    return this.#tables.rows;
  }

  /** Makes room for positions [0, count), so that passes need not. */
  reserve(count: number): void {
    this.#tables.reserve(count);
  }

  /** Token ids on the device, for `forward`. */
  ids(task: Task, ids: Int32Array): Tensor {
    this.assertIds(ids);
    return task.tensor(ids, [ids.length], "ids");
  }

  /** Every id is in the vocabulary. `least`: -1 where an id may be left out. */
  assertIds(ids: Int32Array, least = 0): void {
    const { vocab_size } = this.config;
    const wrong = ids.find((id) => id < least || id >= vocab_size);
    if (wrong !== undefined)
      throw new BadInputError(`token id ${wrong} is outside the model's vocabulary of ${vocab_size}`);
  }

  /** Final hidden states [T − from, D], normalised, of `ids` i32[T] at the positions after those in the cache. */
  forward(ids: Tensor, pass: Pass = {}): Tensor {
    const { config, weights } = this;
    const { adapter = null, cache = null, from = 0, checkpointLayers = 0 } = pass;
    const task = taskOf("forward", [ids]);
    if (ids.length === 0 || from < 0 || from >= ids.length)
      throw new ShapeError("forward", `hidden states from token ${from} on of ${ids.length} tokens`);
    const past = cache?.length ?? 0;
    cache?.begin(adapter?.revision ?? 0);
    using scope = task.scope();
    const given = pass.positions ?? following((cache?.position ?? 0) + past, ids.length);
    const onDevice = (positions: Int32Array): Tensor => this.#positions(task, positions);
    const share = (first: number, others?: Places): Shared => ({
      ...placesOf(config, { given, from: first, past, cache }, onDevice, others),
      ...{ pass, past, from: first, inPlace: ids.length === 1 && !task.recorder },
    });
    const shared = share(0);
    const sharedByLast = from > 0 ? share(from, shared) : shared;
    let h = embedding(ids, weights.embed_tokens, { scale: config.embedding_multiplier }); // [T, D]
    pass.watch?.(h, "embed_tokens");
    weights.layers.forEach((_, i) => {
      const of = i === weights.layers.length - 1 ? sharedByLast : shared;
      const next = task.tidy(() =>
        // what runs again in the backward outlives this pass and what it shares
        i < checkpointLayers
          ? keepingInput(h, (x) => this.#block(i, x, share(of.from)))
          : this.#block(i, h, of),
      );
      if (next !== h) h.dispose(); // in place, it is the same
      h = next;
      pass.watch?.(h, i);
    });
    if (cache) cache.length += ids.length;
    const hidden = this.#norm(h, weights.norm, adapter?.norm?.(null, "norm"));
    pass.watch?.(hidden, "norm");
    return scope.keep(hidden);
  }

  /** On the device, where the tables hold them. */
  #positions(task: Task, positions: Int32Array): Tensor {
    this.reserve(positions.reduce((most, position) => Math.max(most, position), -1) + 1);
    return task.tensor(positions, [positions.length], "positions");
  }

  /** Block `index`: h [T, D] to [T − from, D]. */
  #block(index: number, h: Tensor, shared: Shared): Tensor {
    const { num_attention_heads: H, head_dim: E } = this.config;
    const layer = at(this.config.layers, index);
    const { past, pass, from } = shared;
    const T = at(h.shape, 0);

    const x = this.#normOf(h, index, "pre_attention_norm", pass); // [T, D]
    const xq = from > 0 ? rows(x, { from }) : x; // [Q, D], Q = T − from queries
    const hq = from > 0 ? rows(h, { from }) : h; // [Q, D]
    const [xWq, xWk, xWv] =
      from > 0
        ? [
            ...this.#project(index, xq, ["q_proj"], pass),
            ...this.#project(index, x, ["k_proj", "v_proj"], pass),
          ]
        : this.#project(index, x, ["q_proj", "k_proj", "v_proj"], pass);
    const { q, k, v, far } = this.#place(index, xWq, xWk, xWv, shared);
    const { window, attention_scale: scale, attn_logit_softcapping: softcap } = layer;
    const seen = { past: past + from, frozen: past, window, scale, softcap };
    const attended = far
      ? jointAttention(q, k, v, far.q, far.k, far.v, { ...seen, farPast: far.past })
      : attention(q, k, v, { ...seen, sinks: 0, ...pass.span }); // [Q, H, E]
    const mixed = reshape(attended, { shape: [T - from, H * E] });
    const middle = this.#add(hq, index, "o_proj", mixed, "post_attention_norm", shared); // [Q, D]

    const x2 = this.#normOf(middle, index, "pre_mlp_norm", pass);
    const [gate, up] = this.#project(index, x2, ["gate_proj", "up_proj"], pass); // [Q, F]
    const inner = layer.hidden_act === "silu" ? swiglu(gate, up) : geglu(gate, up);
    return this.#add(middle, index, "down_proj", inner, "post_mlp_norm", shared); // [Q, D]
  }

  /** x, normalised by the norm of block `index`; x itself where the family has no such norm. */
  #normOf(x: Tensor, index: number, name: NormName, { adapter }: Pass): Tensor {
    const { [name]: gain } = at(this.weights.layers, index);
    return gain ? this.#norm(x, gain, adapter?.norm?.(index, name)) : x;
  }

  #norm(x: Tensor, gain: Tensor, delta: Tensor | null = null): Tensor {
    const eps = { eps: this.config.rms_norm_eps };
    return delta ? deltaNorm(x, gain, delta, eps) : rmsNorm(x, gain, eps);
  }

  /** The residual stream h [Q, D] and what block `index`'s `name` makes of x [Q, in], normalised where there is a norm of that. */
  #add(
    h: Tensor,
    index: number,
    name: LinearName,
    x: Tensor,
    norm: NormName,
    { pass, inPlace }: Shared,
  ): Tensor {
    const { residual_multiplier: scale } = at(this.config.layers, index);
    if (!at(this.weights.layers, index)[norm]) {
      pass.linears?.(index, name, x);
      return addLinear(h, x, this.#linear(index, name, pass), { inPlace, scale });
    }
    const [y] = this.#project(index, x, [name], pass);
    return add(h, this.#normOf(y, index, norm, pass), { alpha: scale });
  }

  /** x [T, in] through linear layers of block `index`. */
  #project<const N extends readonly LinearName[]>(index: number, x: Tensor, names: N, pass: Pass) {
    for (const name of names) pass.linears?.(index, name, x);
    const layers = names.map((name) => this.#linear(index, name, pass));
    return linearGroup(x, layers as { -readonly [K in keyof N]: LinearLayer });
  }

  #linear(index: number, name: LinearName, { adapter, step = null }: Pass): LinearLayer {
    const { [name]: w, [`${name}.bias` as const]: bias = null } = at(this.weights.layers, index);
    return { ...(adapter ? adapter.linear(index, name, w, step) : { w, lora: null }), bias };
  }

  /**
   * Queries [Q, H, E] and keys [T, G, E], turned to their positions, and values [T, G, E], of what the projections gave. With a
   * cache, keys and values are written there, and answered are its buffers [capacity, G, E]. `far`: where queries have far keys.
   */
  #place(
    index: number,
    xWq: Tensor,
    xWk: Tensor,
    xWv: Tensor,
    { pass, positions, queryPositions, keyPositions, far, past, from, inPlace }: Shared,
  ): { q: Tensor; k: Tensor; v: Tensor; far?: FarPart } {
    const { num_attention_heads: H, num_key_value_heads: G } = this.config;
    const [q, k, v] = [
      this.#heads(xWq, H, index, "q_norm", pass),
      this.#heads(xWk, G, index, "k_norm", pass),
      reshape(xWv, { shape: [at(xWv.shape, 0), G, this.config.head_dim] }),
    ];
    const table = this.#tables.get(at(this.#ropes, index));
    const layer = at(this.config.layers, index);
    const turn = (x: Tensor, at: Tensor): Tensor => (layer.rope ? rope(x, at, table) : x);
    const { cache } = pass;
    const places = layer.far && far.get(layer.far);
    if (cache && inPlace && !keyPositions && !places) {
      const { k: keys, v: values } = cache.rows(index, past, 1);
      return { q: ropeCache({ q, k, v, positions, table, keys, values }, { at: past }), k: keys, v: values };
    }
    const turned = turn(q, queryPositions);
    const made: LayerKeys = {
      ...{ k: keyPositions ? k : turn(k, positions), v },
      ...(places?.keys && { far: turn(k, places.keys) }),
    };
    const held = cache?.write(index, past, made) ?? made;
    const near = { q: turned, k: keyPositions ? turn(held.k, keyPositions) : held.k, v: held.v };
    if (!layer.far || !places?.queries || pass.span) return near;
    const { window, keys } = layer.far;
    const first = (x: Tensor): Tensor =>
      keys === null ? x : rows(x, { from: 0, to: Math.min(keys, at(x.shape, 0)) });
    const seers = turn(rows(q, { from: places.first - from }), places.queries);
    const farPart = {
      q: seers,
      k: first(held.far ?? near.k),
      v: first(near.v),
      past: past + places.first - window,
    };
    return { ...near, far: farPart };
  }

  /** x [T, count · E] as [T, count, E], normalised by a gain [E] head by head, by a gain [count · E] all heads together. */
  #heads(x: Tensor, count: number, index: number, name: "q_norm" | "k_norm", pass: Pass): Tensor {
    const { head_dim: E } = this.config;
    const T = at(x.shape, 0);
    const { [name]: gain } = at(this.weights.layers, index);
    const parted = gain?.length === E ? reshape(x, { shape: [T * count, E] }) : x;
    return reshape(this.#normOf(parted, index, name, pass), { shape: [T, count, E] });
  }

  /** Negative log-likelihoods [T] in nats of `targets` given hidden states [T, D]; a target of -1 is ignored. */
  nll(hidden: Tensor, targets: Int32Array): Tensor {
    this.assertIds(targets, -1);
    const task = taskOf("nll", [hidden]);
    using scope = task.scope();
    const ids = task.tensor(targets, [targets.length], "targets");
    const { logits_multiplier: scale, final_logit_softcapping: softcap } = this.config;
    return scope.keep(linearCrossEntropy(hidden, this.weights.lm_head, ids, { scale, softcap }));
  }

  /**
   * Divergences [T] in nats, KL(p ‖ q) of each token's prediction q by hidden states [T, D] from that of an anchor's [T, D], p, which is
   * constant.
   */
  divergence(hidden: Tensor, anchor: Tensor): Tensor {
    const { logits_multiplier: scale, final_logit_softcapping: softcap } = this.config;
    return linearDivergence(hidden, this.weights.lm_head, anchor, { scale, softcap });
  }

  /** Logits [T, V] of hidden states [T, D]: for a few rows only, such as the last one when decoding. */
  logits(hidden: Tensor): Tensor {
    const { logits_multiplier: scale, final_logit_softcapping: cap } = this.config;
    const logits = linear(hidden, this.weights.lm_head, { scale });
    return cap > 0 ? softCap(logits, { cap }) : logits;
  }

  toString(): string {
    const { num_hidden_layers, hidden_size, vocab_size } = this.config;
    const sizes = `${num_hidden_layers} layers, hidden_size ${hidden_size}, vocab_size ${vocab_size}`;
    return `Llama: ${sizes}, on ${this.device.info.description}`;
  }

  /** What console.log prints under Node. */
  [Symbol.for("nodejs.util.inspect.custom")](): string {
    return this.toString();
  }

  dispose(): void {
    this.#owned[Symbol.dispose]();
  }

  [Symbol.dispose](): void {
    this.dispose();
  }
}
