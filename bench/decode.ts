/**
 * Suite `decode`: one token after another behind 256 tokens, greedily, as `templora generate` chooses them: with the base
 * model and through a Temp-LoRA. A second pass with timed kernels measures how much of a step is spent outside of them.
 */
import { at } from "../kernels/base/at.ts";
import type { DeviceKind } from "../engine/device.ts";
import type { Llama } from "../model/llama.ts";
import { loadModel } from "../model/load.ts";
import type { Written } from "../templora/decode.ts";
import { type Timing, measure, median, timingOf } from "./harness.ts";
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
import { type Work, someTokens, write } from "./workload.ts";

/** Tokens before the first one timed. */
export const CONTEXT = 256;
/** Steps of one writer before the turn of the other. */
const BLOCK = 16;

/** A text being written, and the time of each of its tokens. */
interface Writer {
  readonly name: string;
  readonly text: Work<Written>;
  readonly ms: number[];
  flops: number;
  bytes: number;
}

function writers(model: Llama, tokens: number, { options }: Bench): Writer[] {
  const begin = (name: string, templora: boolean): Writer => ({
    name,
    text: write(model, someTokens(model, CONTEXT), tokens, options.recipe, templora),
    ...{ ms: [], flops: 0, bytes: 0 },
  });
  return [begin("base", false), begin(`Temp-LoRA, rank ${options.recipe.rank}`, true)];
}

async function steps(writer: Writer, count: number): Promise<void> {
  const { meter } = writer.text.session.task;
  for (let i = 0; i < count; i++) {
    meter.reset();
    const start = performance.now();
    await writer.text.steps.next();
    writer.ms.push(performance.now() - start);
    writer.flops = meter.flops;
    writer.bytes = [...meter.kernels.values()].reduce((sum, { bytes }) => sum + bytes, 0);
  }
}

export async function decode(bench: Bench): Promise<Result> {
  const { quick } = bench.options;
  const blocks = quick ? 1 : 12;
  const device = await bench.open();
  try {
    const model = await loadModel(device, bench.options.model);
    const all = writers(model, blocks * BLOCK + 2, bench);
    for (const writer of all) {
      await steps(writer, 2); // the prompt, and pipelines for one token
      writer.ms.length = 0;
    }
    const ceilings = limits(device);
    const measured: Limits[] = [];
    for (let block = 0; block < blocks; block++) {
      bench.progress("decode", block / blocks);
      measured.push(limitsOf(await measure(ceilings, { rounds: 1, sampleMs: 10, warmUpMs: 5 })));
      for (const writer of all) await steps(writer, BLOCK);
    }
    const most = medians(measured);
    const context = `at ${CONTEXT} to ${CONTEXT + blocks * BLOCK} tokens`;
    const rows = all.map((writer): Row => {
      const timing: Timing = timingOf({ ...writer, name: `${writer.name}, ${context}` }, writer.ms);
      return { ...against(timing, most), tokens_per_second: 1000 / timing.ms };
    });
    for (const { text } of all) text.session.dispose();
    model.dispose();
    const split = await kernelTime(bench, device.info.kind);
    return {
      rows: rows.map((row, i) => {
        const { kernels_ms, calls, ms } = at(split, i);
        // Timestamps slow a GPU's steps down, so its kernels are compared with the steps without them.
        const step = device.info.kind === "webgpu" ? row.ms : ms;
        return {
          ...row,
          kernels_ms,
          calls,
          outside_kernels_percent: Math.max(0, 100 * (1 - kernels_ms / step)),
        };
      }),
      facts: { ...deviceFacts(device), model: bench.options.model, limits: most },
    };
  } finally {
    await device.close();
  }
}

interface Split {
  /** Median milliseconds of a step, and of all its kernels together. */
  readonly ms: number;
  readonly kernels_ms: number;
  readonly calls: number;
}

/** Where each writer's steps spend their time. */
async function kernelTime(bench: Bench, kind: DeviceKind): Promise<Split[]> {
  const device = await openProfiling(kind, bench.options.threads);
  try {
    const model = await loadModel(device, bench.options.model);
    const count = bench.options.quick ? 8 : 64;
    const warmUp = bench.options.quick ? 2 : 64; // V8 compiles the host's code step by step
    const results: Split[] = [];
    for (const writer of writers(model, warmUp + count, bench)) {
      await steps(writer, warmUp);
      writer.ms.length = 0;
      const inKernels: number[] = [];
      let calls = 0;
      for (let i = 0; i < count; i++) {
        bench.progress("decode, kernels timed", i / count);
        await device.profile();
        await steps(writer, 1);
        const kernels = [...(await device.profile()).values()];
        inKernels.push(kernels.reduce((sum, { ms }) => sum + ms, 0));
        calls = kernels.reduce((sum, kernel) => sum + kernel.calls, 0);
      }
      writer.text.session.dispose();
      results.push({ ms: median(writer.ms), kernels_ms: median(inKernels), calls });
    }
    model.dispose();
    return results;
  } finally {
    await device.close();
  }
}
