/**
 * A Llama, readable top to bottom: token ids in, hidden states out; prefill, decoding with a cache and training share this
 * one forward. Touvron et al. 2023, https://arxiv.org/abs/2302.13971; conventions are Hugging Face's (half-split RoPE,
 * weights (out, in), eps inside the root).
 *
 * Symbols: T tokens, D hidden_size, H num_attention_heads, G num_key_value_heads, E head_dim, F intermediate_size, V vocab_size.
 */
import { checkpoint } from "../engine/checkpoint.ts";
import type { Task } from "../engine/task.ts";
import { BadInputError } from "../engine/errors.ts";
import { attention } from "../engine/ops/attention.ts";
import { swiglu } from "../engine/ops/elementwise.ts";
import { embedding } from "../engine/ops/embedding.ts";
import { linear } from "../engine/ops/linear.ts";
import { type LinearLayer, addLinear, linearGroup } from "../engine/ops/linear_group.ts";
import { linearCrossEntropy } from "../engine/ops/loss.ts";
import { rmsNorm } from "../engine/ops/norm.ts";
import { rope, ropeCache } from "../engine/ops/rope.ts";
import { reshape, tail } from "../engine/ops/view.ts";
import { Tensor } from "../engine/tensor.ts";
import type { Checkpoint } from "./checkpoint.ts";
import type { LlamaConfig } from "./config.ts";
import type { KVCache } from "./kv_cache.ts";
import { ropeTable } from "./rope.ts";
import { type LlamaWeights, loadWeights } from "./weights.ts";

/** The linear layers of a block, which an adapter may stand beside. */
export type LinearName = "q_proj" | "k_proj" | "v_proj" | "o_proj" | "gate_proj" | "up_proj" | "down_proj";

/** Something that takes part in a block's linear layers, such as a LoRA. */
export interface LinearAdapter {
  /** Stamps caches made with it; changes with every update. */
  readonly version: number;
  /** What block `layer`'s `name`, whose frozen weight is w [out, in], computes for now. */
  linear(layer: number, name: LinearName, w: Tensor): LinearLayer;
}

export interface ForwardOptions {
  readonly adapter?: LinearAdapter | null;
  /** Reads keys and values of earlier tokens from here, as constants, and appends its own. */
  readonly cache?: KVCache | null;
  /** First token whose hidden state is wanted: the last layer computes only keys and values of those before. */
  readonly from?: number;
}

/** What all blocks of a forward pass have in common. */
interface Pass {
  readonly adapter: LinearAdapter | null;
  readonly cache: KVCache | null;
  /** Tokens in the cache before. */
  readonly past: number;
  /** One token and no tape: the residual stream is added to where it lies. */
  readonly inPlace: boolean;
}

/** Key-side restrictions of attention; both 0 for full causal attention. */
export interface AttentionSpan {
  readonly window: number;
  readonly sinks: number;
}

export class Llama {
  readonly task: Task;
  readonly config: LlamaConfig;
  readonly weights: LlamaWeights;
  /** Set to restrict what each token sees. */
  span: AttentionSpan = { window: 0, sinks: 0 };
  /** How many of the first blocks keep only their input while training, and run again in the backward. */
  checkpointLayers = 0;
  readonly #cos: Tensor; // [max_position_embeddings, E/2]
  readonly #sin: Tensor;

  private constructor(task: Task, config: LlamaConfig, weights: LlamaWeights) {
    this.task = task;
    this.config = config;
    this.weights = weights;
    const positions = config.max_position_embeddings;
    const { cos, sin } = ropeTable(
      config,
      Uint32Array.from({ length: positions }, (_, p) => p),
    );
    const shape = [positions, config.head_dim / 2];
    using scope = task.scope();
    this.#cos = scope.detach(task.tensor(cos, shape, "rope.cos"));
    this.#sin = scope.detach(task.tensor(sin, shape, "rope.sin"));
  }

  static async load(
    task: Task,
    checkpoint: Checkpoint,
    onProgress?: (done: number, total: number) => void,
  ): Promise<Llama> {
    return new Llama(task, checkpoint.config, await loadWeights(task, checkpoint, onProgress));
  }

  /** Before `count` tokens are read after those in the cache: that there are positions for them, and no key is stale. */
  begin(count: number, adapter: LinearAdapter | null, cache: KVCache | null): void {
    const { max_position_embeddings } = this.config;
    const end = (cache ? cache.position + cache.length : 0) + count;
    cache?.begin(adapter?.version ?? 0);
    if (end > max_position_embeddings) {
      throw new BadInputError(
        `${end} tokens exceed the model's ${max_position_embeddings} positions (max_position_embeddings)`,
      );
    }
  }

  /** Final hidden states [T − from, D], normalised, of `ids` at the positions after those in the cache. */
  forward(ids: Int32Array | Tensor, { adapter = null, cache = null, from = 0 }: ForwardOptions = {}): Tensor {
    const { task, config, weights } = this;
    this.begin(ids.length, adapter, cache);
    const inPlace = ids.length === 1 && !task.tape;
    const pass: Pass = { adapter, cache, past: cache?.length ?? 0, inPlace };
    using scope = task.scope();
    const tokens = ids instanceof Tensor ? ids : task.tensor(ids, [ids.length], "ids");
    let h = embedding(task, { ids: tokens, w: weights.embed_tokens }); // [T, D]
    weights.layers.forEach((_, i) => {
      const last = i === weights.layers.length - 1;
      const block = (x: Tensor): Tensor => this.#block(i, x, last ? from : 0, pass);
      const next = task.tidy(() => (i < this.checkpointLayers ? checkpoint(task, h, block) : block(h)));
      if (next !== h) h.dispose(); // in place, it is the same
      h = next;
    });
    if (cache) cache.length += ids.length;
    return scope.keep(rmsNorm(task, { x: h, g: weights.norm }, { eps: config.rms_norm_eps }));
  }

  /** Block `index`: h [T, D] to [T − from, D]. */
  #block(index: number, h: Tensor, from: number, pass: Pass): Tensor {
    const { task, config } = this;
    const { num_attention_heads: H, head_dim: E, rms_norm_eps: eps } = config;
    const { input_layernorm, post_attention_layernorm } = this.weights.layers[index];
    const [T = 0] = h.shape;

    const x = rmsNorm(task, { x: h, g: input_layernorm }, { eps }); // [T, D]
    const xq = from > 0 ? tail(task, { x }, { from }) : x; // [Q, D], Q = T − from queries
    const hq = from > 0 ? tail(task, { x: h }, { from }) : h; // [Q, D]
    const [xWq, xWk, xWv] =
      from > 0
        ? [
            ...this.#project(index, xq, ["q_proj"], pass),
            ...this.#project(index, x, ["k_proj", "v_proj"], pass),
          ]
        : this.#project(index, x, ["q_proj", "k_proj", "v_proj"], pass);
    const { q, k, v } = this.#place(index, xWq, xWk, xWv, from, pass);
    const span = { past: pass.past + from, frozen: pass.past, ...this.span, scale: 1 / Math.sqrt(E) };
    const attended = attention(task, { q, k, v }, span); // [Q, H, E]
    const mixed = reshape(task, { x: attended }, { shape: [T - from, H * E] });
    const o = this.#linear(index, "o_proj", pass);
    const middle = addLinear(task, hq, mixed, o, pass.inPlace); // [Q, D]

    const x2 = rmsNorm(task, { x: middle, g: post_attention_layernorm }, { eps });
    const [gate, up] = this.#project(index, x2, ["gate_proj", "up_proj"], pass); // [Q, F]
    const gated = swiglu(task, { gate, up }, {}); // [Q, F]
    const down = this.#linear(index, "down_proj", pass);
    return addLinear(task, middle, gated, down, pass.inPlace); // [Q, D]
  }

  /** x [T, in] through linear layers of block `index`. */
  #project(index: number, x: Tensor, names: readonly LinearName[], pass: Pass): Tensor[] {
    const layers: LinearLayer[] = [];
    for (const name of names) layers.push(this.#linear(index, name, pass));
    return linearGroup(this.task, x, layers);
  }

  #linear(index: number, name: LinearName, { adapter }: Pass): LinearLayer {
    const w = this.weights.layers[index][name];
    return adapter ? adapter.linear(index, name, w) : { w, lora: null };
  }

  /**
   * Queries [Q, H, E] and keys [T, G, E], turned to their positions, and values [T, G, E], of what the projections gave. With a
   * cache, keys and values are written there, and answered are its buffers [capacity, G, E].
   */
  #place(
    index: number,
    xWq: Tensor,
    xWk: Tensor,
    xWv: Tensor,
    from: number,
    { cache, past, inPlace }: Pass,
  ): { q: Tensor; k: Tensor; v: Tensor } {
    const { task, config } = this;
    const cos = this.#cos;
    const sin = this.#sin;
    const queries = this.#heads(xWq, config.num_attention_heads);
    const newKeys = this.#heads(xWk, config.num_key_value_heads);
    const newValues = this.#heads(xWv, config.num_key_value_heads);
    const start = (cache?.position ?? 0) + past;
    if (cache && inPlace) {
      const { k, v } = cache.rows(index, past, 1);
      const tensors = { q: queries, k: newKeys, v: newValues, cos, sin, keys: k, values: v };
      return { q: ropeCache(task, tensors, { start, at: past }), k, v };
    }
    const q = rope(task, { x: queries, cos, sin }, { start: start + from });
    const k = rope(task, { x: newKeys, cos, sin }, { start });
    return { q, ...(cache ? cache.write(index, past, k, newValues) : { k, v: newValues }) };
  }

  #heads(x: Tensor, count: number): Tensor {
    return reshape(this.task, { x }, { shape: [x.shape[0], count, this.config.head_dim] });
  }

  /** Negative log-likelihoods [T] in nats of `targets` given hidden states [T, D]; targets below 0 are ignored. */
  nll(hidden: Tensor, targets: Int32Array): Tensor {
    const { task } = this;
    using scope = task.scope();
    const ids = task.tensor(targets, [targets.length], "targets");
    return scope.keep(linearCrossEntropy(task, { h: hidden, w: this.weights.lm_head, targets: ids }, {}));
  }

  /** Logits [T, V] of hidden states [T, D]: for a few rows only, such as the last one when decoding. */
  logits(hidden: Tensor): Tensor {
    return linear(this.task, { x: hidden, w: this.weights.lm_head }, {});
  }

  dispose(): void {
    const { embed_tokens, layers, norm, lm_head } = this.weights;
    const tensors = [embed_tokens, norm, lm_head, ...layers.flatMap((l) => Object.values(l) as Tensor[])];
    for (const tensor of [...tensors, this.#cos, this.#sin]) tensor.dispose();
  }
}
