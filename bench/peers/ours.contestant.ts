/** templora as a contestant. */
import { openCpu } from "../../engine/backends/cpu/backend.ts";
import { Task } from "../../engine/task.ts";
import { openCheckpoint } from "../../model/checkpoint.ts";
import { Decoder } from "../../model/decoder.ts";
import { KVCache } from "../../model/kv_cache.ts";
import { Llama } from "../../model/llama.ts";
import { Sampler } from "../../model/sample.ts";
import { recipes } from "../../templora/config.ts";
import { readTokens } from "../../templora/perplexity.ts";
import type { ChunkRecord } from "../../templora/records.ts";
import { greedy } from "../workload.ts";
import { serve } from "./contestant.ts";
import type {
  DecodeRequest,
  Learnt,
  LearnRequest,
  Opened,
  OpenRequest,
  Predicted,
  PredictRequest,
  PrefillRequest,
  Timed,
} from "./requests.ts";

const POSITIONS = 1024;

async function load({ model: source, threads }: OpenRequest): Promise<Llama> {
  const checkpoint = await openCheckpoint(source);
  return Llama.load(new Task(await openCpu({ threads, v8Flags: true })), checkpoint);
}

/** A model with a cache. */
class Reader {
  readonly model: Llama;
  readonly #cache: KVCache;
  readonly #decoder: Decoder;
  readonly #sampler: Sampler;
  #read: readonly number[] = [];

  constructor(model: Llama) {
    this.model = model;
    this.#cache = new KVCache(model.task, model.config, POSITIONS);
    this.#decoder = new Decoder(model, this.#cache, null);
    this.#sampler = new Sampler(model.task, greedy, 0, [], 1);
  }

  async #step(ids: readonly number[], logits: boolean): Promise<number> {
    const { model } = this;
    using _scope = model.task.scope();
    const start = performance.now();
    const hidden = this.#decoder.read(Int32Array.from(ids));
    if (logits) await this.#sampler.next(model.logits(hidden), []);
    await model.task.device.flush();
    return performance.now() - start;
  }

  async prefill({ ids }: PrefillRequest): Promise<Timed> {
    this.#cache.clear();
    this.#read = ids;
    return { ms: [await this.#step(ids, true)] };
  }

  async decode({ ids, steps, logits }: DecodeRequest): Promise<Timed> {
    if (ids.join() !== this.#read.join()) await this.prefill({ ids });
    const ms: number[] = [];
    for (const id of steps) ms.push(await this.#step([id], logits));
    this.#read = [...ids, ...steps];
    return { ms };
  }

  async predict({ ids, count, next }: PredictRequest): Promise<Predicted> {
    const { model } = this;
    using _scope = model.task.scope();
    const from = ids.length - count;
    const logits = await model.task.read(model.logits(model.forward(Int32Array.from(ids), { from })));
    const V = model.config.vocab_size;
    const best: number[] = [];
    const nll: number[] = [];
    const following = [...ids.slice(from + 1), next];
    for (const [i, id] of following.entries()) {
      const row = logits.subarray(i * V, (i + 1) * V);
      const most = row.reduce((a, b) => Math.max(a, b), -Infinity);
      best.push(row.indexOf(most));
      nll.push(Math.log(row.reduce((sum, x) => sum + Math.exp(x - most), 0)) + most - (row[id] ?? NaN));
    }
    return { best, nll };
  }
}

let reader: Reader;
let reading: AsyncGenerator<ChunkRecord>;

await serve({
  open: async (request: OpenRequest): Promise<Opened> => {
    reader = new Reader(await load(request));
    return { version: "this commit", settings: reader.model.task.device.info.description };
  },
  prefill: (request: PrefillRequest) => reader.prefill(request),
  decode: (request: DecodeRequest) => reader.decode(request),
  predict: (request: PredictRequest) => reader.predict(request),
  learn: async (request: LearnRequest): Promise<Opened> => {
    const { chunk, window, rank, lr, context_grad = true, reuse_cache: reuseCache = 0 } = request;
    const model = await load(request);
    const recipe = { ...recipes.paper, rank, alpha: rank, dropout: 0, lr, warmup: 0, context_grad };
    reading = readTokens(model, Int32Array.from(request.ids), {
      ...{ chunk, window, trainWindow: window, reuseCache, recipe, seed: 0 },
      ...{ baseline: false, templora: true },
    });
    return { version: "this commit", settings: model.task.device.info.description };
  },
  next: async (): Promise<Learnt> => {
    const next: IteratorResult<ChunkRecord, unknown> = await reading.next();
    if (next.done) throw new Error("no chunk is left");
    const { lora_nll, train_loss, seconds } = next.value;
    return { seconds, nll: lora_nll ?? NaN, losses: train_loss };
  },
});
