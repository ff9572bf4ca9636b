/**
 * Suite `update`: Temp-LoRA's work on one chunk, scoring and training, as `templora ppl` does it: seconds and where they go,
 * kernel by kernel. The chunks before the window is full warm everything up.
 */
import { loadModel } from "../model/load.ts";
import type { ChunkRecord } from "../templora/records.ts";
import { type Timing, measure, timingOf } from "./harness.ts";
import { limits } from "./probe.ts";
import {
  type Bench,
  type Limits,
  type Result,
  type Row,
  against,
  deviceFacts,
  limitsOf,
  medians,
  openProfiling,
} from "./suite.ts";
import { chunksToFill, read } from "./workload.ts";

interface Sums {
  ms: number;
  calls: number;
  flops: number;
  bytes: number;
}

export async function update(bench: Bench): Promise<Result> {
  const { options } = bench;
  const rounds = options.quick ? 1 : 3;
  const chosen = await bench.open();
  const { kind } = chosen.info;
  await chosen.close();
  // Timing costs the cpu device two readings of the clock for each call, which takes milliseconds.
  const device = await openProfiling(kind, options.threads);
  try {
    const model = await loadModel(device, options.model);
    const before = 1 + chunksToFill(options);
    const { session, steps } = read(model, before + rounds, options);
    const { meter } = session.task;
    for (let chunk = 0; chunk < before; chunk++) {
      bench.progress("update, warming up", chunk / (before + rounds));
      await steps.next();
    }
    const ceilings = limits(device);
    const measured: Limits[] = [];
    const seconds: number[] = [];
    const kernels = new Map<string, Sums>();
    let flops = 0;
    for (let round = 0; round < rounds; round++) {
      bench.progress("update", (before + round) / (before + rounds));
      measured.push(limitsOf(await measure(ceilings, { rounds: 3 })));
      await device.profile();
      meter.reset();
      const next: IteratorResult<ChunkRecord, unknown> = await steps.next();
      if (next.done) throw new Error("the text ended early");
      const { score, train } = next.value.seconds;
      seconds.push(score + train);
      flops = meter.flops;
      for (const [name, { ms, calls }] of await device.profile()) {
        const sum = kernels.get(name) ?? { ms: 0, calls: 0, flops: 0, bytes: 0 };
        const cost = meter.kernels.get(name);
        sum.ms += ms / rounds;
        sum.calls += calls / rounds;
        sum.flops += (cost?.flops ?? 0) / rounds;
        sum.bytes += (cost?.bytes ?? 0) / rounds;
        kernels.set(name, sum);
      }
    }
    session.dispose();
    const most = medians(measured);
    const { chunk, window, recipe, checkpointLayers, reuseCache } = options;
    const name = `[context ${window}, chunk ${chunk}]`;
    const whole = timingOf(
      { name, flops },
      seconds.map((s) => 1000 * s),
    );
    const inKernels = [...kernels.values()].reduce((sum, { ms }) => sum + ms, 0);
    const rows = [...kernels].map(([name, sums]) => kernelRow(name, sums, whole, rounds, most));
    const facts = {
      ...{ model: options.model, chunk, window, rank: recipe.rank, epochs: recipe.epochs, recipe },
      checkpoint_layers: checkpointLayers,
      reuse_cache: reuseCache,
      seconds_per_step: whole.ms / 1000,
      tokens_per_second: (1000 * chunk) / whole.ms,
      outside_kernels_percent: Math.max(0, 100 * (1 - inKernels / whole.ms)),
      peak_device_bytes: device.stats().peakBytes,
    };
    model.dispose();
    return {
      rows: [against(whole, most), ...rows.sort((a, b) => b.ms - a.ms)],
      facts: { ...deviceFacts(device), ...facts, limits: most },
    };
  } finally {
    await device.close();
  }
}

/** One kernel's part of a step, all its calls together. */
function kernelRow(
  name: string,
  { ms, calls, flops, bytes }: Sums,
  whole: Timing,
  rounds: number,
  most: Limits,
): Row {
  const timing = { ...timingOf({ name, flops, bytes }, [ms]), rounds };
  return { ...against(timing, most), calls, step_percent: (100 * ms) / whole.ms };
}
