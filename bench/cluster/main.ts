/**
 * All of PG19, simulated: a sweep over numbers of workers, what limits many of them, and the time between two checkpoints. Fed by records of
 * bench/results (inputs.ts); its own go there with --record. Some minutes for all of it, seconds for one cluster.
 *
 *   npm run simulate:cluster -- [--workers 1,4,16,64,256,1024] [--books 28752] [--seed 0] [--only workers|limits|intervals] [--record]
 */
import { parseArgs } from "node:util";
import { writeRecord } from "../record.ts";
import { PG19, SPREAD } from "./books.ts";
import { readInputs } from "./inputs.ts";
import { type Sweep, type SweepRow, byWorkers, intervals, limits } from "./sweep.ts";

const { values } = parseArgs({
  options: {
    workers: { type: "string", default: "1,4,16,64,256,1024" },
    books: { type: "string", default: String(PG19.books) },
    seed: { type: "string", default: "0" },
    only: { type: "string" },
    record: { type: "boolean", default: false },
  },
});
const inputs = readInputs();
const sweep: Sweep = {
  ...{ inputs, books: Number(values.books), seed: Number(values.seed) },
  workers: values.workers.split(",").map(Number),
  note: (row) => console.log(row),
};
const [cpu] = inputs.kinds;
if (!cpu) throw new Error("no kind of machine");
const most = Math.max(...sweep.workers);
const parts: Readonly<Record<string, () => SweepRow[]>> = {
  workers: () => inputs.kinds.flatMap((kind) => byWorkers(sweep, kind)),
  limits: () => inputs.kinds.flatMap((kind) => limits(sweep, kind, most)),
  // a quarter of the books: there are hundreds of interruptions among them
  intervals: () => intervals({ ...sweep, books: Math.ceil(sweep.books / 4) }, cpu, 64),
};
console.log(inputs);
for (const [name, part] of Object.entries(parts)) {
  if (values.only !== undefined && values.only !== name) continue;
  const began = performance.now();
  const rows = part();
  console.log(`${name}: ${Math.round((performance.now() - began) / 1000)} s`);
  const facts = { books: sweep.books, spread: SPREAD, seed: sweep.seed, inputs };
  if (values.record) console.log(await writeRecord(`cluster_${name}`, facts, rows));
}
