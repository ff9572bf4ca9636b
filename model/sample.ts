/**
 * Choosing the next token. All of it runs on the device, which hands back one integer; but of a small top-k it hands back
 * the candidates, and the draw among them runs here. Draws come from the one generator. The order is transformers':
 * repetition penalty, temperature, top-k, top-p, min-p.
 */
import { BadInputError, NonFiniteError } from "../engine/errors.ts";
import { at } from "../kernels/base/at.ts";
import { DisposableStack } from "../engine/disposables.ts";
import type { Task } from "../engine/task.ts";
import { Purpose, stream, uniforms } from "../engine/random.ts";
import type { Tensor } from "../engine/tensor.ts";
import { argmax } from "../kernels/argmax/argmax.ts";
import { penalize } from "../kernels/penalize/penalize.ts";
import { sample } from "../kernels/sample/sample.ts";
import { top_k as topK } from "../kernels/top_k/top_k.ts";

export interface SamplingOptions {
  /** 0 = greedy. */
  readonly temperature: number;
  /** Candidates kept; 0 = all. */
  readonly top_k: number;
  /** Smallest set of candidates with this much probability; 1 = all. */
  readonly top_p: number;
  /** Candidates at least this fraction as probable as the first; 0 = all. */
  readonly min_p: number;
  /** Divides positive logits of tokens seen, multiplies negative ones (Keskar et al. 2019, CTRL); 1 = none. */
  readonly repetition_penalty: number;
}

/** The most probable token, always. */
export const greedy: SamplingOptions = {
  temperature: 0,
  top_k: 0,
  top_p: 1,
  min_p: 0,
  repetition_penalty: 1,
};

/** The most candidates that the device hands back. */
const MAX_TOP_K = 256;

export class Sampler implements Disposable {
  readonly #task: Task;
  readonly #options: SamplingOptions;
  readonly #seed: number;
  readonly #banned: ReadonlySet<number>;
  /** What penalties touch: the banned ids, whose factors are 0, then those seen, whose factor is the penalty. */
  readonly #touched: Int32Array;
  readonly #ids: Tensor;
  readonly #factors: Tensor;
  readonly #owned: DisposableStack;
  /** Tokens drawn so far: the next draw's place in the generator. */
  draws = 0;

  /** `capacity`: the most distinct tokens that a penalty can touch. */
  constructor(
    task: Task,
    options: SamplingOptions,
    seed: number,
    banned: readonly number[],
    capacity: number,
  ) {
    const { temperature, top_k, top_p, min_p, repetition_penalty } = options;
    const sensible =
      temperature >= 0 && top_k >= 0 && Number.isInteger(top_k) && top_p > 0 && min_p >= 0 && min_p <= 1;
    if (!sensible || !(repetition_penalty > 0))
      throw new BadInputError(`sampling: ${JSON.stringify(options)} has a value outside its range`);
    this.#task = task;
    this.#options = options;
    this.#seed = seed;
    this.#banned = new Set(banned);
    this.#touched = new Int32Array(Math.max(1, capacity + this.#banned.size));
    this.#touched.set([...this.#banned]);
    const factors = new Float32Array(this.#touched.length).fill(options.repetition_penalty);
    factors.fill(0, 0, this.#banned.size);
    using stack = new DisposableStack();
    this.#ids = stack.use(task.lasting([factors.length], "i32", "penalty.ids"));
    this.#factors = stack.use(task.lasting([factors.length], "f32", "penalty.factors"));
    task.device.write(this.#ids.view, this.#touched);
    task.device.write(this.#factors.view, factors);
    this.#owned = stack.move();
  }

  /** The next token given logits [1, V] (changed in place) and the tokens that count as seen. */
  async next(logits: Tensor, seen: Iterable<number>): Promise<number> {
    using _scope = this.#task.scope();
    this.#penalize(logits, seen);
    const id = await this.#choose(logits);
    if (id < 0) throw new NonFiniteError("the logits hold no number");
    return id;
  }

  /** A negative number where the device found nothing to choose from. */
  async #choose(logits: Tensor): Promise<number> {
    const { temperature, top_k, top_p, min_p } = this.#options;
    const task = this.#task;
    if (temperature === 0) {
      return at(await task.run(argmax, { logits }, {}).index.ints(), 0);
    }
    const u = at(uniforms(this.#seed, stream(Purpose.sampling, 0), this.draws++, 1), 0);
    if (top_k === 0 || top_k > Math.min(MAX_TOP_K, logits.length)) {
      const params = { temperature, top_k, top_p, min_p, u };
      return at(await task.run(sample, { logits }, params).index.ints(), 0);
    }
    const { values, indices } = task.run(topK, { logits }, {}, { dims: { K: top_k } });
    const [top, ids] = [await values.data(), await indices.ints()];
    return draw(
      Array.from(top, (logit, i) => ({ id: at(ids, i), logit })),
      this.#options,
      u,
    );
  }

  #penalize(logits: Tensor, seen: Iterable<number>): void {
    let count = this.#banned.size;
    if (this.#options.repetition_penalty !== 1) {
      for (const id of new Set(seen)) if (!this.#banned.has(id)) this.#touched[count++] = id;
      const { device } = this.#task;
      device.write({ ...this.#ids.view, length: count }, this.#touched.subarray(0, count));
    }
    if (count === 0) return;
    this.#task.run(penalize, { ids: this.#ids, factors: this.#factors, logits }, { count });
  }

  dispose(): void {
    this.#owned[Symbol.dispose]();
  }

  [Symbol.dispose](): void {
    this.dispose();
  }
}

interface Candidate {
  readonly id: number;
  readonly logit: number;
}

/** Picks by u in [0, 1) among candidates in descending order of logit. */
export function draw(
  candidates: readonly Candidate[],
  { temperature, top_p, min_p }: SamplingOptions,
  u: number,
): number {
  const best = at(candidates, 0).logit;
  const weights = candidates.map(({ logit }) => Math.exp((logit - best) / temperature));
  const total = weights.reduce((sum, w) => sum + w, 0);
  let kept = 0;
  let mass = 0;
  for (const weight of weights) {
    if (kept > 0 && (mass >= top_p * total || weight < min_p)) break;
    mass += weight;
    kept++;
  }
  let rest = u * mass;
  for (let i = 0; i < kept; i++) {
    rest -= at(weights, i);
    if (rest < 0) return at(candidates, i).id;
  }
  return at(candidates, kept - 1).id;
}
