/**
 * node-llama-cpp (llama.cpp) on the CPU as a contestant: its own prebuilt library, batches of the whole prompt, and of
 * flash attention and thread counts whatever was fastest in a short trial, for prompts and for single tokens apart.
 */
import { serve } from "./contestant.ts";
import { load, versionOf } from "./peer.ts";
import type {
  DecodeRequest,
  Opened,
  OpenRequest,
  Predicted,
  PredictRequest,
  PrefillRequest,
  Timed,
} from "./requests.ts";

interface Llama {
  loadModel(options: { modelPath: string }): Promise<Model>;
}
interface Model {
  createContext(options: {
    contextSize: number;
    batchSize: number;
    threads: { ideal: number; min: number };
    flashAttention: boolean;
  }): Promise<{ getSequence(): Sequence; dispose(): Promise<void> }>;
}
interface Next {
  readonly token?: number;
  readonly probabilities?: Map<number, number>;
}
type Item = number | [number, { generateNext: object }];
interface Sequence {
  evaluateWithoutGeneratingNewTokens(ids: readonly number[]): Promise<void>;
  controlledEvaluate(items: readonly Item[]): Promise<({ next: Next } | undefined)[]>;
  clearHistory(): Promise<void>;
}
interface Library {
  readonly LlamaLogLevel: { readonly error: string };
  getLlama(options: object): Promise<Llama>;
}

const POSITIONS = 1024;
const BATCH = 512;
const CHOOSE = { generateNext: { token: true, options: { temperature: 0 } } };

/** A context with its settings. */
class Way {
  readonly name: string;
  readonly #sequence: Sequence;
  #read: readonly number[] = [];

  constructor(name: string, sequence: Sequence) {
    this.name = name;
    this.#sequence = sequence;
  }

  async prefill({ ids }: PrefillRequest): Promise<Timed> {
    await this.#sequence.clearHistory();
    this.#read = ids;
    const start = performance.now();
    await this.#sequence.controlledEvaluate([...ids.slice(0, -1), [ids.at(-1) ?? 0, CHOOSE]]);
    return { ms: [performance.now() - start] };
  }

  async decode({ ids, steps, logits }: DecodeRequest): Promise<Timed> {
    if (ids.join() !== this.#read.join()) await this.prefill({ ids });
    const ms: number[] = [];
    for (const id of steps) {
      const start = performance.now();
      if (logits) await this.#sequence.controlledEvaluate([[id, CHOOSE]]);
      else await this.#sequence.evaluateWithoutGeneratingNewTokens([id]);
      ms.push(performance.now() - start);
    }
    this.#read = [...ids, ...steps];
    return { ms };
  }

  async predict({ ids, count, next }: PredictRequest): Promise<Predicted> {
    await this.#sequence.clearHistory();
    this.#read = [];
    const from = ids.length - count;
    const following = [...ids.slice(from + 1), next];
    const chosen = { generateNext: { ...CHOOSE.generateNext, probabilities: true } };
    const items = ids.map((id, i): Item => (i < from ? id : [id, chosen]));
    const results = (await this.#sequence.controlledEvaluate(items)).slice(from);
    const nexts = results.map((result) => result?.next ?? {});
    return {
      best: nexts.map(({ token = -1 }) => token),
      nll: nexts.map(({ probabilities }, i) => -Math.log(probabilities?.get(following[i] ?? -1) ?? NaN)),
    };
  }
}

const median = (ms: readonly number[]): number => ms.toSorted((a, b) => a - b)[ms.length >> 1] ?? NaN;

/** The fastest by what `time` measures, twice each in turn. */
async function fastest(ways: readonly Way[], time: (way: Way) => Promise<number>): Promise<Way> {
  const best = new Map<Way, number>();
  for (let round = 0; round < 2; round++) {
    for (const way of ways) best.set(way, Math.min(best.get(way) ?? Infinity, await time(way)));
  }
  const [[way] = []] = [...best].sort(([, a], [, b]) => a - b);
  if (!way) throw new Error("no settings to choose from");
  return way;
}

let prompts: Way;
let tokens: Way;

await serve({
  open: async ({ model: modelPath, threads: most }: OpenRequest): Promise<Opened> => {
    const library = await load<Library>("node-llama-cpp");
    const llama = await library.getLlama({
      gpu: false,
      build: "never",
      logLevel: library.LlamaLogLevel.error,
      maxThreads: most,
    });
    const model = await llama.loadModel({ modelPath });
    const ways: Way[] = [];
    for (const flashAttention of [false, true]) {
      for (const threads of new Set([1, most])) {
        const options = {
          contextSize: POSITIONS,
          batchSize: BATCH,
          threads: { ideal: threads, min: threads },
          flashAttention,
        };
        const context = await model.createContext(options);
        const name = `${threads} thread(s), flash attention ${flashAttention ? "on" : "off"}`;
        ways.push(new Way(name, context.getSequence()));
      }
    }
    const ids = Array.from({ length: BATCH }, (_, i) => 100 + i);
    prompts = await fastest(ways, async (way) => median((await way.prefill({ ids })).ms));
    const steps = ids.slice(0, 16);
    tokens = await fastest(ways, async (way) => {
      return median((await way.decode({ ids: ids.slice(0, 256), steps, logits: true })).ms);
    });
    return {
      version: versionOf("node-llama-cpp"),
      settings: `prompts: ${prompts.name}; single tokens: ${tokens.name}`,
    };
  },
  prefill: (request: PrefillRequest) => prompts.prefill(request),
  decode: (request: DecodeRequest) => tokens.decode(request),
  predict: (request: PredictRequest) => prompts.predict(request),
});
