/**
 * Suite `schedule`: the same text written under both schedules, on the same threads, in turn: how long a reader waits from token to
 * token, and the whole takes. Each run is a session of its own, as `templora generate` has it; the time until the first token, with the
 * start of the thread that learns, is not counted.
 */
import type { Cost, Meter } from "../engine/meter.ts";
import type { Llama } from "../model/llama.ts";
import { loadModel } from "../model/load.ts";
import { writeTokens } from "../templora/decode.ts";
import { besideWriter } from "../templora/learner_beside.ts";
import type { ChunkRecord } from "../templora/records.ts";
import { Session } from "../templora/session.ts";
import { type Schedule, schedules } from "../templora/session_options.ts";
import { measure, median, quantile, timingOf } from "./harness.ts";
import { limits } from "./probe.ts";
import {
  type Bench,
  type BenchOptions,
  type Limits,
  type Result,
  type Row,
  deviceFacts,
  limitsOf,
} from "./suite.ts";
import { someTokens } from "./workload.ts";

/** Chunks of a text: the first is half a prompt, and the last update has no text beside it. */
const CHUNKS = 6;

interface Run {
  /** Milliseconds from token to token. */
  readonly waits: readonly number[];
  /** Seconds from the first token to the end of the last update. */
  readonly wall: number;
  readonly records: readonly ChunkRecord[];
  /** Of one token. */
  readonly token: Cost;
}

function spent({ flops, kernels }: Meter): Cost {
  return { flops, bytes: [...kernels.values()].reduce((sum, { bytes }) => sum + bytes, 0) };
}

async function run(model: Llama, schedule: Schedule, chunks: number, options: BenchOptions): Promise<Run> {
  const { chunk, window, recipe, seed, reuseCache, checkpointLayers } = options;
  const { eosIds: banIds } = model.tokenizer;
  using session = new Session(
    model,
    { ...{ schedule, chunk, window, recipe, seed, reuseCache, checkpointLayers, banIds }, baseline: false },
    schedule === "parallel" ? besideWriter : undefined,
  );
  const prompt = someTokens(model, Math.ceil(chunk / 2));
  const [waits, records]: [number[], ChunkRecord[]] = [[], []];
  const costs: Cost[] = [];
  let [began, last] = [0, 0];
  for await (const step of writeTokens(session, prompt, { tokens: chunks * chunk - prompt.length })) {
    const now = performance.now();
    if (step.type === "chunk") records.push(step.record);
    else {
      if (last > 0) waits.push(now - last);
      else began = now;
      last = now;
      if (costs.length < 3) costs.push(spent(session.task.meter));
    }
  }
  const [, before, after] = costs; // the first token reads the prompt
  const token = {
    flops: (after?.flops ?? NaN) - (before?.flops ?? NaN),
    bytes: (after?.bytes ?? NaN) - (before?.bytes ?? NaN),
  };
  return { waits, wall: (performance.now() - began) / 1000, records, token };
}

export async function schedule(bench: Bench): Promise<Result> {
  const { options } = bench;
  const [rounds, chunks] = options.quick ? [1, 3] : [3, CHUNKS];
  const device = await bench.open();
  try {
    const model = await loadModel(device, options.model);
    const runs: Record<Schedule, Run[]> = { cascaded: [], parallel: [] };
    for (let round = 0; round < rounds; round++)
      for (const [i, name] of schedules.entries()) {
        bench.progress(name, (round + i / schedules.length) / rounds);
        runs[name].push(await run(model, name, chunks, options));
      }
    const most = limitsOf(await measure(limits(device), { rounds: 3 }));
    model.dispose();
    const row = (name: Schedule): Row => {
      const waits = runs[name].flatMap((one) => one.waits);
      const timing = { ...timingOf({ name: `${name}, a token` }, waits), rounds };
      const longest = median(runs[name].map((one) => Math.max(...one.waits)));
      const wall_seconds = median(runs[name].map(({ wall }) => wall));
      return { ...timing, p95_ms: quantile(waits, 0.95), longest_ms: longest, longest_over_median: longest / timing.ms, wall_seconds }; // prettier-ignore
    };
    const ratios = runs.parallel.map(({ wall }, round) => wall / (runs.cascaded[round]?.wall ?? NaN));
    const { chunk, window, recipe, reuseCache } = options;
    return {
      rows: schedules.map(row),
      facts: {
        ...deviceFacts(device),
        ...{ model: options.model, chunk, window, chunks, rank: recipe.rank, epochs: recipe.epochs, recipe },
        reuse_cache: reuseCache,
        wall_ratio: median(ratios),
        cost_model: costModel(runs.cascaded, Number(device.info.facts["threads"] ?? 1), most),
        limits: most,
      },
    };
  } finally {
    await device.close();
  }
}

/**
 * Seconds a chunk that the schedules would take with other numbers of threads. Updates are arithmetic, which threads share; a token reads all weights,
 * and reading does not become faster. Under parallel the writer has half the threads while it writes, and the learner all others.
 */
function costModel(
  runs: readonly Run[],
  measured: number,
  { fma_gflops, copy_gbps }: Limits,
): readonly object[] {
  const steady = runs.flatMap(({ records }) => records.slice(1)); // the first has no context
  const update = measured * median(steady.map(({ seconds }) => seconds.train + seconds.score)); // on one thread
  const [one] = runs;
  const wait = median(runs.flatMap(({ waits }) => waits)) / 1000;
  const tokens = median(steady.map((record) => record.tokens));
  const { flops = 0, bytes = 0 } = one?.token ?? {};
  const least = (threads: number): number =>
    Math.max((flops * measured) / (threads * fma_gflops), bytes / copy_gbps);
  const writing = (threads: number): number => (tokens * wait * least(threads)) / least(measured);
  const updateAlone = Math.max(0, update - measured * tokens * wait);
  return [measured, 2 * measured, 4 * measured].map((threads) => {
    const own = Math.max(1, Math.floor(threads / 2));
    const cascaded = updateAlone / threads + writing(threads);
    const parallel = Math.max(writing(own), (updateAlone + own * writing(own)) / threads);
    return { threads, cascaded_seconds: cascaded, parallel_seconds: parallel };
  });
}
