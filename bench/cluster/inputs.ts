/** What the simulation is fed with: records of bench/results, and what is assumed because nothing here can measure it. */
import { type Record_, type Row, newest } from "../../scripts/bench_records.ts";
import { PG19 } from "./books.ts";
import type { QueueCost } from "./measure/server.ts";
import type { CheckpointCost } from "./measure/checkpoints.ts";
import type { StartCost } from "./measure/starting.ts";
import type { MachineKind, StoreRates } from "./setting.ts";

/** Assumed: until another spot machine is there in the place of one that is gone. */
export const REPLACED_SECONDS = 120;
/** What clouds give: AWS two minutes; Google and Azure half a minute. */
export const NOTICE_SECONDS = 120;
/** `templora worker`'s defaults. */
export const CHECKPOINT_EVERY = 60;
export const LOCK_SECONDS = 30;

/** Assumed: what a 10 Gbit/s network carries to a store that keeps up with it, and a worker's own 2.5 Gbit/s. */
const FAST_STORE = { name: "10 Gbit/s", bytesPerSecond: 1.25e9, mostEach: 3.125e8 };

interface NamedStore extends StoreRates {
  readonly name: string;
}

export interface Inputs {
  readonly tokensPerWord: number;
  readonly checkpointBytes: number;
  /** The folder on this machine's disk. */
  readonly store: NamedStore;
  readonly otherStores: readonly NamedStore[];
  readonly kinds: readonly MachineKind[];
  /** Microseconds of the queue's server. */
  readonly queue: QueueCost;
}

function recordOf(suite: string): Record_ {
  const record = newest(suite);
  if (!record) throw new Error(`bench/results has no record of suite ${suite}`);
  return record;
}

/** Scoring by the frozen model and the adapted one, and training. */
const secondsOf = ({ seconds }: Row): number => {
  const { base, score, train } = seconds as { base: number; score: number; train: number };
  return base + score + train;
};

export function readInputs(): Inputs {
  const measured = recordOf("cluster_inputs");
  const checkpoint = measured["checkpoint"] as CheckpointCost;
  const start = measured["start"] as StartCost;
  const { us } = measured["queue"] as { us: QueueCost };
  const sum = (key: string): number => measured.timings.reduce((all, row) => all + Number(row[key]), 0);
  const stores = checkpoint.stores.map(({ store, putMBps, fourPutMBps }) => {
    const bytesPerSecond = 1e6 * Math.max(putMBps, fourPutMBps);
    return { name: store, bytesPerSecond, mostEach: 1e6 * putMBps };
  });
  const folder = stores.find(({ name }) => name === "folder");
  if (!folder) throw new Error("the record of cluster_inputs has no folder");
  const own = {
    ...{ startSeconds: start.workerSeconds, taskSeconds: start.taskSeconds },
    ...{ firstTaskSeconds: start.firstTaskSeconds, saveSeconds: checkpoint.saveSeconds },
  };
  return {
    tokensPerWord: sum("tokens") / sum("words"),
    checkpointBytes: checkpoint.bytes,
    store: folder,
    otherStores: [...stores.filter((store) => store !== folder), FAST_STORE],
    kinds: [
      { ...own, name: "2 cores, recipe tuned", ...reading("tuned", (rows) => rows.map((row) => secondsOf(row) / Number(row["tokens"]))) }, // prettier-ignore
      { ...own, name: "H200, recipe paper", ...reading("pg19_long", (rows) => rows.map(byChunks)) },
    ],
    queue: us,
  };
}

/** Chunks and seconds of a suite's least disturbed text. */
function reading(
  suite: string,
  of: (rows: readonly Row[]) => number[],
): Pick<MachineKind, "chunk" | "secondsPerToken"> {
  // prettier-ignore
  const { timings } = recordOf(suite);
  return { chunk: Number(timings[0]?.["chunk"]), secondsPerToken: Math.min(...of(timings)) };
}

/** Of a text whose sums are not in the record. */
function byChunks(row: Row): number {
  const chunks = row["chunks"] as readonly Row[];
  const all = (of: (chunk: Row) => number): number => chunks.reduce((sum, chunk) => sum + of(chunk), 0);
  return all(secondsOf) / all((chunk) => Number(chunk["tokens"]));
}

/** Mean tokens of a book. */
export const meanTokens = ({ tokensPerWord }: Inputs): number => (tokensPerWord * PG19.words) / PG19.books;
