/** The tables of docs/scale.md: a cluster, simulated (bench/cluster), what the simulation was fed with, and how it compares with real runs. */
import type { Inputs } from "../bench/cluster/inputs.ts";
import type { CheckpointCost } from "../bench/cluster/measure/checkpoints.ts";
import type { StartCost } from "../bench/cluster/measure/starting.ts";
import { type Column, type Record_, columns, table } from "./bench_records.ts";

const mean = (values: readonly number[]): number => values.reduce((sum, x) => sum + x, 0) / values.length;

/** What was measured here for it. */
export function clusterInputs(record: Record_): string {
  const { bytes, saveSeconds, stores } = record["checkpoint"] as CheckpointCost;
  const start = record["start"] as StartCost;
  const { us } = record["queue"] as { us: Readonly<Record<string, number>> };
  const { ofLock } = record["takeover"] as { ofLock: readonly number[] };
  const sum = (key: string): number => record.timings.reduce((all, row) => all + Number(row[key]), 0);
  return table(
    ["measured", "", ""],
    [
      ["a checkpoint (SmolLM2-135M, rank 64)", bytes / 1e6, "MB"],
      ["the reading waits for it", saveSeconds, "s"],
      ...stores.flatMap(({ store, putMBps, fourPutMBps, getMBps }) => [
        [`a store, ${store}: one worker puts`, putMBps, "MB/s"],
        ["four at once", fourPutMBps, "MB/s"],
        ["one gets", getMBps, "MB/s"],
      ]),
      ["from a worker's start to its first task", start.workerSeconds, "s"],
      ["a task's own time beside reading, the first of a process", start.firstTaskSeconds, "s"],
      ["the others", start.taskSeconds, "s"],
      ...Object.entries(us).map(([call, cost]) => [
        `the queue's server: ${callsOf[call] ?? call}`,
        cost,
        "µs",
      ]),
      [`a task goes on elsewhere after SIGKILL, mean of ${ofLock.length}`, mean(ofLock), "times the lock's"],
      [`tokens of a word, ${record.timings.length} books`, sum("tokens") / sum("words"), ""],
    ],
  );
}

const callsOf: Readonly<Record<string, string>> = {
  progress: "a chunk's progress",
  lock: "a lock renewed",
  look: "whether a task is cancelled",
  poll: "a look for work",
  task: "a task submitted, taken and completed",
};

const ofKind =
  (kind: number, chosen: readonly Column[]) =>
  (record: Record_): string => {
    const { name, secondsPerToken } = (record["inputs"] as Inputs).kinds[kind] ?? {};
    const rows = record.timings.filter((row) => row["kind"] === name);
    return `${name ?? ""}: ${((secondsPerToken ?? NaN) * 1000).toPrecision(3)} ms a token\n\n${columns(rows, chosen)}`;
  };

const workers: readonly Column[] = [
  ["workers", "workers"],
  ["hours", "hours"],
  ["worker-hours", "worker_hours"],
  ["useful, %", "useful_percent"],
  ["longest book first", "hours_longest_first"],
  ["interrupted every 24 h", "hours_24h"],
  ["6 h", "hours_6h"],
  ["1 h", "hours_1h"],
  ["tokens read again, %", "lost_1h_percent"],
  ["1 h, with notice", "hours_1h_notice"],
  ["read again, %", "lost_1h_notice_percent"],
  ["the queue's server is busy, %", "queue_percent"],
  ["the store is busy, %", "store_percent"],
];

/** Hours by workers, one table for each kind of machine. */
export const clusterWorkers = ofKind(0, workers);
export const clusterWorkersGpu = ofKind(1, workers);

const limits: readonly Column[] = [
  ["1,024 workers, each interrupted every 6 h", "name"],
  ["hours", "hours"],
  ["useful, %", "useful_percent"],
  ["tokens read again, %", "lost_percent"],
  ["without work, %", "waiting_percent"],
  ["states are written, %", "saving_percent"],
  ["starting and getting checkpoints, %", "preparing_percent"],
];
export const clusterLimits = ofKind(0, limits);
export const clusterLimitsGpu = ofKind(1, limits);

/** The checkpoint interval that loses least. */
export const clusterIntervals = (record: Record_): string =>
  columns(record.timings, [
    ["store", "store"],
    ["interrupted every, h", "between_hours"],
    ["Young, s", "young"],
    ["Daly, s", "daly"],
    ["simulated, s", "best"],
    ["it costs, %", "cost_percent"],
    ["within 0.1 % of that, s", "near"],
    ["60 s (the default) cost, %", "default_percent"],
  ]);

/** Real runs beside what was foreseen. */
export const clusterCheck = (record: Record_): string =>
  columns(record.timings, [
    ["workers", "workers"],
    ["killed", "kills"],
    ["texts begun by one, ended by another", "continued"],
    ["minutes measured", "minutes"],
    ["simulated", "foreseen"],
    ["error, %", "error_percent"],
    ["at the run's own pace", "foreseen_own_pace"],
    ["error, %", "error_own_pace_percent"],
    ["load of the machine", "load"],
  ]);
