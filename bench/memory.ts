/**
 * Suite `memory`: Temp-LoRA over several chunks in a process of its own, with memory after each: it must not grow once
 * the window is full.
 */
import { openDevice } from "../engine/backends/open.ts";
import { program, runNode } from "./children.ts";
import { timingOf } from "./harness.ts";
import { type Bench, type BenchOptions, type Result, type Row, deviceFacts } from "./suite.ts";
import { loadModel } from "../model/load.ts";
import { chunksToFill, read } from "./workload.ts";

/** Memory after a chunk, in bytes. */
export interface ChunkMemory {
  readonly chunk: number;
  readonly context: number;
  readonly ms: number;
  /** Memory of the process, the cpu device's included. */
  readonly rss: number;
  readonly peak_rss: number;
  /** Bytes of buffers on the device: now, and the most so far. */
  readonly device: number;
  readonly peak_device: number;
  readonly live_buffers: number;
}

export interface MemoryJob {
  readonly options: BenchOptions;
  readonly chunks: number;
}

export async function memory(bench: Bench): Promise<Result> {
  const { options } = bench;
  const device = await bench.open();
  await device.close();
  const full = chunksToFill(options);
  const chunks = full + (options.quick ? 3 : 6);
  const job: MemoryJob = {
    options: { ...options, device: device.info.kind === "webgpu" ? "webgpu" : "cpu" },
    chunks,
  };
  const found: ChunkMemory[] = [];
  bench.progress("memory", 0);
  await runNode([...program("bench/memory.child"), JSON.stringify(job)], (line) => {
    found.push(JSON.parse(line) as ChunkMemory);
    bench.progress("memory", found.length / chunks);
  });
  const rows = found.map(({ chunk, ms, ...bytes }): Row => {
    return { ...timingOf({ name: `chunk ${chunk}` }, [ms]), ...bytes };
  });
  // Memory should not grow after the first chunk with a full window.
  const [first, last] = [found[full], found.at(-1)];
  const growth = (key: "peak_rss" | "peak_device"): number =>
    first && last ? 100 * (last[key] / first[key] - 1) : NaN;
  const { chunk, window, recipe, model, checkpointLayers, reuseCache } = options;
  return {
    rows,
    facts: {
      ...{ ...deviceFacts(device), model, chunk, window, rank: recipe.rank },
      ...{ context_grad: recipe.context_grad, checkpoint_layers: checkpointLayers, reuse_cache: reuseCache },
      ...{ peak_rss: last?.peak_rss, peak_device: last?.peak_device },
      rss_growth_percent: growth("peak_rss"),
      device_growth_percent: growth("peak_device"),
    },
  };
}

/** What the child does; `report` is called with the figures after each chunk. */
export async function readChunks(
  { options, chunks }: MemoryJob,
  report: (found: ChunkMemory) => void,
): Promise<void> {
  const device = await openDevice(options.device, { threads: options.threads, v8Flags: true });
  const model = await loadModel(device, options.model);
  let before = performance.now();
  const { session, steps } = read(model, chunks, options);
  for await (const { index, context } of steps) {
    const now = performance.now();
    const { liveBytes, peakBytes, liveBuffers } = device.stats();
    report({
      ...{ chunk: index, context, ms: now - before },
      ...{ rss: process.memoryUsage.rss(), peak_rss: process.resourceUsage().maxRSS * 1024 },
      ...{ device: liveBytes, peak_device: peakBytes, live_buffers: liveBuffers },
    });
    before = now;
  }
  session.dispose();
  model.dispose();
  await device.close();
}
