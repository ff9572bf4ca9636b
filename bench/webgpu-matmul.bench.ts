/**
 * Matrix products of the webgpu device on the adapter at hand, all in the same rounds.
 *
 *   tsx bench/webgpu-matmul.bench.ts [--only TEXT] [--quick] [--record]
 */
import { parseArgs } from "node:util";
import { type WebGpuDevice, openWebGpuDevice } from "../engine/backends/webgpu/backend.ts";
import { type Candidate, measure } from "./harness.ts";
import { type Work, product } from "./products.ts";
import { writeRecord } from "./record.ts";

/** Squares; SmolLM2's layers forward and backward at 512 tokens; LoRA of rank 64; decoding. */
const work: readonly Work[] = [
  ["matmul_nt", 512, 512, 512],
  ["matmul_nt", 1024, 1024, 1024],
  ["matmul_nn", 1024, 1024, 1024],
  ["matmul_tn", 1024, 1024, 1024],
  ["matmul_nt", 512, 576, 576, "q4_1"],
  ["matmul_nt", 512, 192, 576, "q4_1"],
  ["matmul_nt", 512, 1536, 576, "q4_1"],
  ["matmul_nt", 512, 576, 1536, "q4_1"],
  ["matmul_nn", 512, 576, 576, "q4_1"],
  ["matmul_nn", 512, 1536, 576, "q4_1"],
  ["matmul_nt", 512, 64, 576],
  ["matmul_nt_acc", 512, 576, 64],
  ["matmul_tn_acc", 512, 64, 576],
  ["matmul_nt", 1, 1536, 576],
  ["matmul_nt", 1, 1536, 576, "q4_0"],
  ["matmul_nt", 1, 1536, 576, "q4_1"],
  ["matmul_nt", 1, 1536, 576, "q8_0"],
  ["matmul_nt", 1, 49152, 576, "q4_1"],
  ["matmul_nt", 4, 1536, 576, "q4_1"],
];

/** Runs a product so often between two flushes that waiting for them does not count. */
function candidate(device: WebGpuDevice, work: Work): Candidate & { calls: number } {
  const { name, run: once, flops, bytes } = product(device, work);
  const calls = Math.min(64, Math.max(1, Math.round(2e8 / flops)));
  const run = async (): Promise<void> => {
    for (let i = 0; i < calls; i++) once();
    await device.flush();
  };
  return { name, run, flops: flops * calls, bytes: bytes * calls, calls };
}

const { values } = parseArgs({
  options: {
    only: { type: "string", default: "" },
    quick: { type: "boolean", default: false },
    record: { type: "boolean", default: false },
  },
});

const device = await openWebGpuDevice();
const candidates = work.map((w) => candidate(device, w)).filter(({ name }) => name.includes(values.only));
const timings = await measure(candidates, values.quick ? { rounds: 5, sampleMs: 10 } : {});
console.log(device.info.description);
console.log(`${"".padEnd(36)}   ms/call spread GFLOP/s    GB/s`);
timings.forEach((t, i) => {
  const cells = [
    t.name.padEnd(36),
    (t.ms / candidates[i].calls).toFixed(3).padStart(9),
    `±${((100 * (t.upper - t.lower)) / 2 / t.ms).toFixed(0)} %`.padStart(6),
    (t.gflops ?? 0).toFixed(2).padStart(8),
    (t.gbps ?? 0).toFixed(2).padStart(7),
  ];
  console.log(cells.join(" "));
});
if (values.record) {
  const records = timings.map((t, i) => ({ ...t, calls: candidates[i].calls }));
  console.log(writeRecord("webgpu-matmul", { device: device.info }, records));
}
await device.close();
