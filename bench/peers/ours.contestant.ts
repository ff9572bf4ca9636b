/** templora as a contestant. */
import { openCpu } from "../../engine/backends/cpu/backend.ts";
import { Task } from "../../engine/task.ts";
import { Decoder } from "../../model/decoder.ts";
import { KVCache } from "../../model/kv_cache.ts";
import type { Llama } from "../../model/llama.ts";
import { loadModel } from "../../model/load.ts";
import { Sampler, greedy } from "../../model/sample.ts";
import { recipes } from "../../templora/config.ts";
import { readText } from "../../templora/api.ts";
import type { ChunkRecord } from "../../templora/records.ts";
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

async function load({ model, threads }: OpenRequest): Promise<Llama> {
  return loadModel(await openCpu({ threads, v8Flags: true }), model);
}

/** A model with a cache. */
class Reader {
  readonly model: Llama;
  readonly #task: Task;
  readonly #cache: KVCache;
  readonly #decoder: Decoder;
  readonly #sampler: Sampler;
  #read: readonly number[] = [];

  constructor(model: Llama) {
    const { device } = model;
    this.model = model;
    this.#task = new Task(device);
    this.#cache = new KVCache(device, model.config, POSITIONS);
    this.#decoder = new Decoder(this.#task, model, this.#cache, null);
    this.#sampler = new Sampler(this.#task, greedy, 0, [], 1);
  }

  async #step(ids: readonly number[], logits: boolean): Promise<number> {
    const { model } = this;
    using _scope = this.#task.scope();
    const start = performance.now();
    const hidden = this.#decoder.read(Int32Array.from(ids));
    if (logits) await this.#sampler.next(model.logits(hidden), []);
    await model.device.flush();
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
    using _scope = this.#task.scope();
    const from = ids.length - count;
    const logits = await model
      .logits(model.forward(model.ids(this.#task, Int32Array.from(ids)), { from }))
      .data();
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
    return { version: "this commit", settings: reader.model.device.info.description };
  },
  prefill: (request: PrefillRequest) => reader.prefill(request),
  decode: (request: DecodeRequest) => reader.decode(request),
  predict: (request: PredictRequest) => reader.predict(request),
  learn: async (request: LearnRequest): Promise<Opened> => {
    const { chunk, window, rank, lr, context_grad = true, reuse_cache: reuseCache = 0 } = request;
    const model = await load(request);
    const recipe = { ...recipes.paper, rank, alpha: rank, dropout: 0, lr, warmup: 0, context_grad };
    reading = readText(model, Int32Array.from(request.ids), {
      ...{ chunk, window, reuseCache, recipe, baseline: false },
    });
    return { version: "this commit", settings: model.device.info.description };
  },
  next: async (): Promise<Learnt> => {
    const next: IteratorResult<ChunkRecord, unknown> = await reading.next();
    if (next.done) throw new Error("no chunk is left");
    const { lora_nll, train_loss, seconds } = next.value;
    return { seconds, nll: lora_nll ?? NaN, losses: train_loss };
  },
});
