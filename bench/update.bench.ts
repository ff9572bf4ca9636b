/**
 * One Temp-LoRA chunk step of a real model (score + epochs on [context, chunk]): seconds, tokens/s, arithmetic rate as a share
 * of the register-only FMA rate of the same run, and where the time goes, kernel by kernel.
 *
 *   tsx bench/update.bench.ts [--model smollm2-135m] [--chunk 512] [--window 512] [--rank 64] [--threads N] [--rounds 3] [--record]
 */
import { parseArgs } from "node:util";
import { openCpu } from "../engine/backends/cpu/backend.ts";
import { Engine } from "../engine/engine.ts";
import { openCheckpoint } from "../model/checkpoint.ts";
import { Llama } from "../model/llama.ts";
import { sequence } from "../templora/chunks.ts";
import { recipes } from "../templora/config.ts";
import { Stopwatch } from "../templora/stopwatch.ts";
import { TempLora } from "../templora/trainer.ts";
import { find, measure, writeRecord } from "./harness.ts";
import { limits } from "./probe.ts";

const { values } = parseArgs({
  options: {
    model: { type: "string", default: "smollm2-135m" },
    chunk: { type: "string", default: "512" },
    window: { type: "string", default: "512" },
    rank: { type: "string", default: "64" },
    rounds: { type: "string", default: "3" },
    threads: { type: "string" },
    record: { type: "boolean", default: false },
  },
});
const [chunk, window, rank, rounds] = [values.chunk, values.window, values.rank, values.rounds].map(Number);

const device = await openCpu({ profile: true, ...(values.threads && { threads: Number(values.threads) }) });
const engine = new Engine(device);
const checkpoint = await openCheckpoint(values.model);
const model = await Llama.load(engine, checkpoint);
await checkpoint.close();

const ids = Int32Array.from({ length: window + chunk }, (_, i) => (i * 7919) % model.config.vocab_size);
const part = sequence(ids, { index: 1, start: window, end: window + chunk }, window);
const learner = new TempLora(model, { ...recipes.paper, rank, alpha: rank, dropout: 0 }, 0);

const steps: { seconds: number; flops: number }[] = [];
const kernels = new Map<string, { ms: number; calls: number; flops: number }>();
const fma: number[] = [];
for (let round = 0; round <= rounds; round++) {
  const limit = await measure(limits(device), { rounds: 3 });
  await device.profile();
  engine.meter.reset();
  const watch = new Stopwatch(engine.meter);
  const start = performance.now();
  await learner.learn(part, part, watch);
  const seconds = (performance.now() - start) / 1000;
  if (round === 0) continue; // memory is touched and code compiled for the first time
  fma.push(find(limit, "limit: fma").gflops ?? NaN);
  steps.push({ seconds, flops: engine.meter.flops });
  for (const [name, { ms, calls }] of await device.profile()) {
    const sum = kernels.get(name) ?? { ms: 0, calls: 0, flops: 0 };
    sum.ms += ms / rounds;
    sum.calls += calls / rounds;
    sum.flops += (engine.meter.kernels.get(name)?.flops ?? 0) / rounds;
    kernels.set(name, sum);
  }
}

const median = (numbers: number[]): number => numbers.sort((a, b) => a - b)[numbers.length >> 1];
const seconds = median(steps.map((s) => s.seconds));
const rate = (steps[0]?.flops ?? 0) / seconds / 1e9;
const limit = median(fma);
const table = [...kernels]
  .map(([name, { ms, calls, flops }]) => ({
    name,
    calls,
    ms: Math.round(ms * 10) / 10,
    percent: Math.round((1000 * ms) / (seconds * 1000)) / 10,
    gflops: Math.round(flops / ms / 1e5) / 10,
    share_of_fma_percent: Math.round((100 * flops) / ms / 1e6 / limit),
  }))
  .sort((a, b) => b.ms - a.ms);
console.table(table);
const summary = {
  device: device.info.description,
  model: values.model,
  chunk,
  window,
  rank,
  epochs: 2,
  seconds_per_step: seconds,
  tokens_per_second: chunk / seconds,
  gflops: rate,
  fma_gflops: limit,
  share_of_fma_percent: (100 * rate) / limit,
  peak_device_bytes: device.stats().peakBytes,
};
console.log(summary);
if (values.record) console.log(writeRecord("update", summary, table));
learner.dispose();
model.dispose();
await device.close();
