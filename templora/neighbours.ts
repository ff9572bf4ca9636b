/**
 * A memory without training, beside or instead of the adapter: the hidden states of the text so far, each with the token that came
 * after it. p = (1 − λ) · p_model + λ · p_memory, where each stored state h_i votes for its token with weight softmax_i(−‖h − h_i‖² / τ).
 * Khandelwal et al. 2020, "Generalization through Memorization" (kNN-LM), https://arxiv.org/abs/1911.00172, eq. 2 and 3, over all states
 * instead of the k nearest; and, like Grave et al. 2017 (https://arxiv.org/abs/1612.04426), of this text alone. τ is a share of
 * the mean squared distance to the stored states, so that it suits models of any width and scale.
 */
import { at } from "../kernels/base/at.ts";
import { copy } from "../kernels/copy/copy.ts";
import { matmul_nt } from "../kernels/matmul/matmul.ts";
import { DisposableStack } from "../engine/disposables.ts";
import { BadInputError } from "../engine/errors.ts";
import type { Task } from "../engine/task.ts";
import { type Tensor, allocate } from "../engine/tensor.ts";
import { Mixture } from "./mixture.ts";

/** λ, from 0 (no memory) to below 1; "auto": by how each of some shares has done so far (mixture.ts). */
export type Share = number | "auto";

/** What "auto" chooses among. Chosen on the tuning books: docs/log.md. */
export const SHARES: readonly number[] = [0, 0.01, 0.02, 0.05, 0.1, 0.2, 0.4];

export interface NeighbourOptions {
  readonly share: Share;
  /** States kept: those of the newest tokens. */
  readonly capacity: number;
}

/** τ in mean squared distances. Chosen on the tuning books: docs/log.md. */
export const TEMPERATURE = 0.05;

/** The least probability of a model's that is mixed: none that is left of it is 0 in float64. */
const LEAST = 1e-300;

/** A memory between two chunks, on the host. */
export interface NeighboursSnapshot {
  /** States seen so far, those that were forgotten included. */
  readonly seen: number;
  /** [min(seen, capacity), D], in the order of the memory. */
  readonly states: Float32Array;
  /** The token after each. */
  readonly tokens: Int32Array;
  /** Of the shares (mixture.ts); null: as they are in the beginning. */
  readonly weights: readonly number[] | null;
}

export class Neighbours implements Disposable {
  readonly #task: Task;
  readonly #mixture: Mixture;
  readonly #capacity: number;
  readonly #width: number;
  /** [capacity, D], the oldest overwritten first. */
  readonly #states: Tensor;
  readonly #tokens: Int32Array;
  /** ‖h_i‖² */
  readonly #squares: Float64Array;
  readonly #owned: DisposableStack;
  #seen = 0;
  /** [T, D] of the pass that is watched, in the first rows. */
  #recent: Tensor;
  /** T, or 0 when no pass is watched. */
  #watched = 0;

  /** `width`: D. The caller disposes of it. */
  constructor(task: Task, width: number, { share, capacity }: NeighbourOptions) {
    using stack = new DisposableStack();
    this.#task = task;
    this.#mixture = new Mixture(share === "auto" ? SHARES : [share]);
    this.#capacity = capacity;
    this.#width = width;
    this.#states = stack.use(allocate(task.device, [capacity, width], "f32", "neighbours"));
    this.#tokens = new Int32Array(capacity);
    this.#squares = new Float64Array(capacity);
    this.#recent = allocate(task.device, [1, width], "f32", "neighbours.recent");
    stack.defer(() => this.#recent.dispose());
    this.#owned = stack.move();
  }

  /** To be called with a pass's hidden states [T, D], one for each target, while it runs. */
  watch(hidden: Tensor): void {
    this.#watched = at(hidden.shape, 0);
    if (this.#recent.length < hidden.length) {
      this.#recent.dispose();
      this.#recent = allocate(this.#task.device, hidden.shape, "f32", "neighbours.recent");
    }
    const [task, x, y] = [this.#task, hidden, this.#recent];
    // a tape has no part in it
    task.recording(null, () => task.run(copy, { x, y }, { from: 0, to: 0, count: x.length }));
  }

  /**
   * The negative log-likelihoods of the targets of the pass that was watched, nats, with the memory's share; afterwards the
   * memory holds that pass, too.
   */
  async mix(nll: Float32Array, targets: Int32Array): Promise<Float32Array> {
    if (this.#watched !== targets.length)
      throw new Error("mix(): the pass with these targets was not watched");
    this.#watched = 0;
    using recent = this.#recent.alias([targets.length, this.#width]);
    const hidden = await recent.data();
    const mixed = this.#seen > 0 ? await this.#mixed(nll, targets, hidden) : nll;
    this.#add(hidden, targets);
    return mixed;
  }

  /**
   * What the memory would give after each state of the pass that was watched, of `count` targets: its share, and the probability of every token that
   * has a vote. Nothing is stored, and no share is weighted anew.
   */
  async votes(count: number): Promise<{ share: number; votes: ReadonlyMap<number, number>[] }> {
    if (this.#watched !== count) throw new Error("votes(): the pass with these targets was not watched");
    this.#watched = 0;
    if (this.#seen === 0) return { share: 0, votes: Array.from({ length: count }, () => new Map()) };
    using recent = this.#recent.alias([count, this.#width]);
    const hidden = await recent.data();
    const votes: Map<number, number>[] = [];
    for (const { weights, sum } of await this.#weighed(count, hidden)) {
      const given = new Map<number, number>();
      for (const [i, weight] of weights.entries()) {
        const token = at(this.#tokens, i);
        given.set(token, (given.get(token) ?? 0) + weight / sum);
      }
      votes.push(given);
    }
    return { share: this.#mixture.share, votes };
  }

  async #mixed(nll: Float32Array, targets: Int32Array, hidden: Float32Array): Promise<Float32Array> {
    const mixed: number[] = [];
    for (const { weights, sum } of await this.#weighed(targets.length, hidden)) {
      const t = mixed.length;
      const token = at(targets, t);
      const votes = weights.reduce(
        (some, weight, i) => (this.#tokens[i] === token ? some + weight : some),
        0,
      );
      const model = Math.max(Math.exp(-at(nll, t)), LEAST);
      mixed.push(-Math.log(this.#mixture.mix(model, votes / sum)));
    }
    return Float32Array.from(mixed);
  }

  /** For each of the `count` newest states, whose values are `hidden`: the weights of the stored ones, until the next is asked for. */
  async #weighed(count: number, hidden: Float32Array): Promise<Iterable<Weights>> {
    const N = Math.min(this.#seen, this.#capacity);
    const [task, D] = [this.#task, this.#width];
    using _scope = task.scope();
    const operands = { a: task.alias(this.#recent, [count, D]), w: task.alias(this.#states, [N, D]) };
    const products = await task.run(matmul_nt, operands, { alpha: 1 }).c.data(); // [count, N]
    const stored = this.#squares;
    return (function* () {
      const weights = new Float64Array(N);
      for (const [t, square] of squaresOf(hidden, D).entries()) {
        for (let i = 0; i < N; i++)
          weights[i] = Math.max(0, square + at(stored, i) - 2 * at(products, t * N + i));
        yield { weights, sum: toWeights(weights) };
      }
    })();
  }

  #add(hidden: Float32Array, targets: Int32Array): void {
    const D = this.#width;
    const squares = squaresOf(hidden, D);
    for (const [t, token] of targets.entries()) {
      const row = this.#seen++ % this.#capacity;
      this.#tokens[row] = token;
      this.#squares[row] = at(squares, t);
      const view = { ...this.#states.view, offset: this.#states.view.offset + row * D, length: D };
      this.#task.device.write(view, hidden.slice(t * D, (t + 1) * D));
    }
  }

  async snapshot(): Promise<NeighboursSnapshot> {
    const held = Math.min(this.#seen, this.#capacity);
    using used = this.#states.alias([Math.max(1, held), this.#width]);
    return {
      seen: this.#seen,
      states: held > 0 ? await used.data() : new Float32Array(),
      tokens: this.#tokens.slice(0, held),
      weights: this.#mixture.weights,
    };
  }

  /** Becomes what the snapshot was taken of; null: an empty memory. */
  restore(snapshot: NeighboursSnapshot | null): void {
    const {
      seen = 0,
      states = new Float32Array(),
      tokens = new Int32Array(),
      weights = null,
    } = snapshot ?? {};
    const D = this.#width;
    if (states.length !== tokens.length * D || tokens.length !== Math.min(seen, this.#capacity))
      throw new BadInputError("the state's memory does not fit together: it is damaged");
    this.#mixture.restore(weights);
    this.#seen = seen;
    this.#tokens.set(tokens);
    this.#squares.set(squaresOf(states, D));
    if (states.length > 0) this.#task.device.write({ ...this.#states.view, length: states.length }, states);
  }

  [Symbol.dispose](): void {
    this.#owned[Symbol.dispose]();
  }
}

/** What each stored state's vote weighs, and all of them together. */
interface Weights {
  readonly weights: Float64Array;
  readonly sum: number;
}

/** Squared distances become weights, in place, e^(−distance / τ) in times of the largest; returns their sum. */
function toWeights(distances: Float64Array): number {
  let [sum, least] = [0, Infinity];
  for (const d of distances) [sum, least] = [sum + d, Math.min(least, d)];
  const width = TEMPERATURE * (sum / distances.length || 1);
  let all = 0;
  for (let i = 0; i < distances.length; i++) {
    distances[i] = Math.exp((least - at(distances, i)) / width);
    all += at(distances, i);
  }
  return all;
}

/** ‖h‖² of each row of [T, D], in float64. */
function squaresOf(states: Float32Array, D: number): Float64Array {
  const squares = new Float64Array(states.length / D);
  for (let t = 0; t < squares.length; t++)
    squares[t] = states.subarray(t * D, (t + 1) * D).reduce((sum, x) => sum + x * x, 0);
  return squares;
}
