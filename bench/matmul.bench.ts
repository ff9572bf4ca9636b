/**
 * Matrix products of the cpu device against the limits of the same build and threads, measured in the same rounds.
 *
 *   tsx bench/matmul.bench.ts [--threads N]… [--build relaxed|plain] [--only TEXT] [--quick] [--record]
 */
import { parseArgs } from "node:util";
import { type Build } from "../engine/backends/cpu/build.ts";
import { openCpu } from "../engine/backends/cpu/backend.ts";
import { type Timing, find, measure } from "./harness.ts";
import { limits } from "./probe.ts";
import { type Work, product } from "./products.ts";
import { machine, writeRecord } from "./record.ts";

/** Squares; SmolLM2's layers forward and backward at 1024 tokens; LoRA of rank 64 and 4; decoding. */
const work: readonly Work[] = [
  ["matmul_nt", 256, 256, 256],
  ["matmul_nt", 512, 512, 512],
  ["matmul_nt", 1024, 1024, 1024],
  ["matmul_nn", 1024, 1024, 1024],
  ["matmul_tn", 1024, 1024, 1024],
  ["matmul_nt", 2048, 2048, 2048],
  ["matmul_nt", 1024, 1024, 1024, "q4_1"],
  ["matmul_nt", 1024, 576, 576, "q4_1"],
  ["matmul_nt", 1024, 192, 576, "q4_1"],
  ["matmul_nt", 1024, 1536, 576, "q4_1"],
  ["matmul_nt", 1024, 576, 1536, "q4_1"],
  ["matmul_nt", 64, 49152, 576, "q4_1"],
  ["matmul_nn", 1024, 576, 576, "q4_1"],
  ["matmul_nn", 1024, 1536, 576, "q4_1"],
  ["matmul_nn", 1024, 576, 1536, "q4_1"],
  ["matmul_nn", 64, 49152, 576, "q4_1"],
  ["matmul_nt", 1024, 64, 576],
  ["matmul_nt_acc", 1024, 576, 64],
  ["matmul_nt_acc", 1024, 1536, 64],
  ["matmul_nt", 1024, 64, 1536],
  ["matmul_nn_acc", 1024, 64, 576],
  ["matmul_nn", 1024, 576, 64],
  ["matmul_tn_acc", 1024, 64, 576],
  ["matmul_tn_acc", 1024, 576, 64],
  ["matmul_nt", 1024, 4, 576],
  ["matmul_nt_acc", 1024, 576, 4],
  ["matmul_tn", 1024, 4, 576],
  ["matmul_nt", 1, 1536, 576],
  ["matmul_nt", 1, 1536, 576, "q4_1"],
  ["matmul_nt", 1, 49152, 576],
  ["matmul_nt", 1, 49152, 576, "f16"],
  ["matmul_nt", 1, 49152, 576, "bf16"],
  ["matmul_nt", 1, 49152, 576, "q4_0"],
  ["matmul_nt", 1, 49152, 576, "q4_1"],
  ["matmul_nt", 1, 49152, 576, "q8_0"],
  ["matmul_nt", 4, 1536, 576, "q4_1"],
  ["matmul_nt", 16, 1536, 576, "q4_1"],
];

function line(t: Timing, fma: number, read: number): string {
  const cells = [
    t.name.padEnd(36),
    t.ms.toFixed(3).padStart(9),
    `±${((100 * (t.upper - t.lower)) / 2 / t.ms).toFixed(0)} %`.padStart(6),
    (t.gflops ?? 0).toFixed(1).padStart(7),
    `${((100 * (t.gflops ?? 0)) / fma).toFixed(0)} %`.padStart(6),
    (t.gbps ?? 0).toFixed(1).padStart(7),
    `${((100 * (t.gbps ?? 0)) / read).toFixed(0)} %`.padStart(6),
  ];
  return cells.join(" ");
}

const { values } = parseArgs({
  options: {
    threads: { type: "string", multiple: true, default: ["1", String(machine().cores)] },
    build: { type: "string", default: "auto" },
    only: { type: "string", default: "" },
    quick: { type: "boolean", default: false },
    record: { type: "boolean", default: false },
  },
});

const all: object[] = [];
for (const threads of values.threads.map(Number)) {
  const device = await openCpu({ threads, build: values.build as Build | "auto" });
  const candidates = work.map((w) => product(device, w)).filter(({ name }) => name.includes(values.only));
  const options = values.quick ? { rounds: 5, sampleMs: 10 } : {};
  const timings = await measure([...limits(device), ...candidates], options);
  const fma = find(timings, "limit: fma").gflops ?? NaN;
  const read = find(timings, "limit: read").gbps ?? NaN;
  console.log(`\n${device.info.description}`);
  console.log(`${"".padEnd(36)}        ms spread GFLOP/s of FMA    GB/s of read`);
  for (const t of timings) {
    console.log(line(t, fma, read));
    all.push({ threads, build: device.info.facts.build, ...t, ofFma: (t.gflops ?? 0) / fma });
  }
  await device.close();
}
if (values.record) console.log(writeRecord("matmul", {}, all));
