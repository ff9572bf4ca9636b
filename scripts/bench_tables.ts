/** How the records of bench/results are shown: a table for each suite, and one of all ratios to other libraries. */
import { front } from "./front_tables.ts";
import {
  auto,
  books,
  keptKeys,
  lost,
  neighbours,
  otherModel,
  recall,
  search,
  tuned,
} from "./recipe_tables.ts";
import {
  type Column,
  type Record_,
  type Row,
  columns,
  newest,
  of,
  recordsOf,
  table,
  text,
} from "./bench_records.ts";
import {
  clusterCheck,
  clusterInputs,
  clusterIntervals,
  clusterLimits,
  clusterLimitsGpu,
  clusterWorkers,
  clusterWorkersGpu,
} from "./cluster_tables.ts";
import { conventions } from "./conventions_table.ts";
import {
  efficiency,
  generationMethods,
  latency,
  methods,
  pg19,
  pg19PyTorch,
  translation,
} from "./results_tables.ts";

const whole =
  (key: string) =>
  (row: Row): unknown =>
    typeof row[key] === "number" ? Math.round(row[key]) : "";
const mebibytes =
  (key: string) =>
  (row: Row): number =>
    Math.round(Number(row[key]) / 2 ** 20);
/** Half the distance between the quartiles, in percent of the median. */
const spread = ({ ms, lower, upper }: Row): string =>
  Number(upper) > Number(lower)
    ? `±${((50 * (Number(upper) - Number(lower))) / Number(ms)).toPrecision(2)} %`
    : "";

const rates: readonly Column[] = [
  ["GFLOP/s", "gflops"],
  ["of FMA, %", whole("fma_percent")],
  ["GB/s", "gbps"],
  ["of copy, %", whole("copy_percent")],
  ["roofline, %", whole("roofline_percent")],
];
const time: readonly Column[] = [
  ["ms", "ms"],
  ["spread", spread],
];

function limits(record: Record_): string {
  const { fma_gflops, copy_gbps } = record["limits"] as Row;
  return `Limits of the same run: ${text(fma_gflops)} GFLOP/s, ${text(copy_gbps)} GB/s.`;
}

const kernels = (record: Record_): string =>
  columns(record.timings, [["kernel at", "name"], ...time, ...rates]);

const decode = (record: Record_): string =>
  `${columns(record.timings, [
    ["with", "name"],
    ...time,
    ["tokens/s", "tokens_per_second"],
    ...rates,
    ["kernels", "calls"],
    ["outside kernels, %", whole("outside_kernels_percent")],
  ])}\n\n${limits(record)}`;

const prefill = (record: Record_): string =>
  `${columns(record.timings, [["with", "name"], ...time, ["tokens/s", "tokens_per_second"], ...rates])}\n\n${limits(record)}`;

/** The model, where the record names it, and other settings. */
const settings = (record: Record_, rest: string): string =>
  [record["model"], rest]
    .filter((part) => part !== undefined)
    .map(text)
    .join(", ");

const update = (record: Record_): string => {
  const facts = `${settings(record, `chunk ${text(record["chunk"])}, window ${text(record["window"])}`)}, rank ${text(record["rank"])}, ${text(record["epochs"])} epochs: ${text(record["tokens_per_second"])} tokens/s; ${text(record["outside_kernels_percent"])} % of the time outside kernels.`;
  const rows = record.timings.slice(0, 14);
  return `${facts}\n\n${columns(rows, [["step, kernel", "name"], ["calls", "calls"], ["ms", "ms"], ["of the step, %", whole("step_percent")], ...rates])}\n\n${limits(record)}`;
};

const schedule = (record: Record_): string => {
  const model = record["cost_model"] as readonly Row[];
  const facts = `${settings(record, `chunk ${text(record["chunk"])}, window ${text(record["window"])}`)}, rank ${text(record["rank"])}, ${text(record["epochs"])} epochs; the whole under parallel takes ${text(record["wall_ratio"])} times as long as under cascaded.`;
  const rows = columns(record.timings, [
    ["from token to token", "name"],
    ["median, ms", "ms"],
    ["p95, ms", "p95_ms"],
    ["longest, ms", "longest_ms"],
    ["longest ÷ median", "longest_over_median"],
    ["in all, s", "wall_seconds"],
  ]);
  const threads = columns(model, [
    ["threads", "threads"],
    ["a chunk under cascaded, s", "cascaded_seconds"],
    ["under parallel, s", "parallel_seconds"],
  ]);
  return `${facts}\n\n${rows}\n\nBy the cost model (bench/schedule.ts), with these and more threads:\n\n${threads}\n\n${limits(record)}`;
};

const memory = (record: Record_): string =>
  `${settings(record, `chunk ${text(record["chunk"])}, window ${text(record["window"])}`)}, rank ${text(record["rank"])}, --checkpoint-layers ${text(record["checkpoint_layers"])}; memory in MiB. From the first full window on, the process grew by ${text(record["rss_growth_percent"])} %, the device's peak by ${text(record["device_growth_percent"])} %.\n\n${columns(
    record.timings,
    [
      ["after", "name"],
      ["context", "context"],
      ["RSS", mebibytes("rss")],
      ["peak RSS", mebibytes("peak_rss")],
      ["device", mebibytes("device")],
      ["peak device", mebibytes("peak_device")],
    ],
  )}`;

const memory64 = (record: Record_): string =>
  columns(record.timings, [
    ["", "name"],
    ["kernels", "setup"],
    ...time,
    ["× as it is", (row) => Number(row["ratio"]).toFixed(2)],
  ]);

const startup = (record: Record_): string => columns(record.timings, [["until", "name"], ...time]);

const ppl = (record: Record_): string =>
  columns(record.timings, [
    ["text", "text"],
    ["device", "device"],
    ["tokens", "tokens"],
    ["chunk", "chunk"],
    ["window", "window"],
    ["lr", "lr"],
    ["base ppl", "base_ppl"],
    ["Temp-LoRA ppl", "lora_ppl"],
    ["change, %", (row) => -Number(row["reduction_percent"])],
    ["tokens/s", "tokens_per_second"],
  ]);

/** The same texts with the context's gradient, without it, and without it on older keys: one row a text. */
const context = (record: Record_): string => {
  const texts = [...new Set(record.timings.map((row) => row["text"]))];
  const cells = texts.map((name) => {
    const of = (grad: boolean, reused: boolean): Row | undefined =>
      record.timings.find(
        (row) =>
          row["text"] === name &&
          (row["recipe"] as Row)["context_grad"] === grad &&
          Number(row["reuse_cache"]) > 0 === reused,
      );
    const [exact = {}, constant = {}, reused = {}] = [of(true, false), of(false, false), of(false, true)];
    const change = (row: Row): number => 100 * (Number(row["lora_ppl"]) / Number(exact["lora_ppl"]) - 1);
    const ppl = [exact["base_ppl"], exact["lora_ppl"], constant["lora_ppl"], reused["lora_ppl"]];
    return [name, exact["tokens"], ...ppl, change(constant), change(reused)];
  });
  const mean = cells[0]?.map((_, i) =>
    i === 0 ? "mean" : i < 6 ? "" : cells.reduce((sum, row) => sum + Number(row[i]) / cells.length, 0),
  );
  const [one = {}] = record.timings;
  const reuse = Math.max(...record.timings.map((row) => Number(row["reuse_cache"])));
  const head = ["text", "tokens", "base ppl", "exact", "constant", "reused"];
  const more = ["constant, %", "reused, %"];
  return (
    `${text(one["model"])}, chunk ${text(one["chunk"])}, window ${text(one["window"])}, lr ${text(one["lr"])}, dropout 0; constant: ` +
    `\`--context-grad off\`; reused: also \`--reuse-cache ${reuse}\`.\n\n` +
    table([...head, ...more], [...cells, ...(mean ? [mean] : [])])
  );
};

const mutation = (record: Record_): string => {
  const seen = ({ killed, timeouts }: Row): number => Number(killed) + Number(timeouts);
  const parts = record.timings.filter((row) => "of" in row);
  return (
    `\`npm run mutate -- ${(record["paths"] as string[]).join(" ")} --sample ${text(record["sample"])} --seed ${text(record["seed"])} ` +
    `--slow ${text(record["slow"])}\`\n\n${columns(parts, [
      ["under", "name"],
      ["mutants", "of"],
      ["tried", "mutants"],
      ["equivalent", "equivalent"],
      ["killed", seen],
      ["of these by never ending", "timeouts"],
      ["survived", "survived"],
      ["killed, %", "killed_percent"],
    ])}`
  );
};

const peers = (record: Record_): string =>
  columns(record.timings, [
    ["work", "work"],
    ["library", "library"],
    ...time,
    ["GFLOP/s", "gflops"],
    ["its time ÷ ours", "ratio"],
  ]);

const peersGeneration = (record: Record_): string => {
  const { same_choices, mean_nll, peer_mean_nll } = record["agreement"] as Row;
  return `${columns(record.timings, [
    ["work", "work"],
    ["library", "library"],
    ...time,
    ["tokens/s", "tokens_per_second"],
    ["its time ÷ ours", "ratio"],
  ])}\n\nThe two choose the same token at ${text(100 * Number(same_choices))} % of 64 positions; mean −ln p of the text ${text(mean_nll)} and ${text(peer_mean_nll)}.`;
};

const peersUpdate = (record: Record_): string =>
  columns(record.timings, [
    ["work", "work"],
    ["library", "library"],
    ...time,
    ["scoring, s", "score_seconds"],
    ["training, s", "train_seconds"],
    ["tokens/s", "tokens_per_second"],
    ["time ÷ PyTorch's", "of_pytorch"],
  ]);

/** Commands that were ended at random moments, and resumed. */
const kills = ({ timings }: Record_): string =>
  columns(timings, [
    ["command", "name"],
    ["ended by SIGKILL", "moments"],
    ["of these resumed from a state", "resumed"],
    ...(timings.some(({ torn }) => Number(torn) > 0) ? [["of these from a torn one", "torn"] as const] : []),
    ["whole outputs", "finished"],
    ["with other bits", "wrong"],
  ]);

/** Commands whose device failed, over all commands. */
const deviceFaults = ({ timings }: Record_): string => {
  const sums = new Map<string, Row>();
  for (const row of timings) {
    const key = `${String(row["device"])} ${String(row["way"])}`;
    const sum = sums.get(key);
    const add = (name: string): number => Number(sum?.[name] ?? 0) + Number(row[name]);
    const figures = ["moments", "undisturbed", "rebuilt", "resumed", "begun_anew", "wrong"];
    sums.set(key, { ...row, ...Object.fromEntries(figures.map((name) => [name, add(name)])) });
  }
  return columns(
    [...sums.values()],
    [
      ["device", "device"],
      ["what fails", "way"],
      ["faults", "moments"],
      ["that nothing met", "undisturbed"],
      ["went on by itself", "rebuilt"],
      ["ended, then resumed", "resumed"],
      ["ended before any copy", "begun_anew"],
      ["other bits, leaks, no clear error", "wrong"],
    ],
  );
};

/** What of a long run must not grow, at the end of some of its tenths. */
const longRun = ({ timings }: Record_): string => {
  const mebibytes = (key: string) => (row: Row) => Math.round(Number(row[key]) / 2 ** 20);
  const shown = timings.filter(({ tenth }) => [1, 2, 5, 10].includes(Number(tenth)));
  return columns(shown, [
    ["command", "command"],
    ["tokens", "tokens"],
    ["RSS, MiB", mebibytes("rssBytes")],
    ["at most, before a collection", mebibytes("mostRssBytes")],
    ["JavaScript's objects, MiB", (row) => Number(row["heapBytes"]) / 2 ** 20],
    ["live buffers", "liveBuffers"],
    ["their bytes", "liveBytes"],
    ["state, MiB", (row) => Number(row["stateBytes"]) / 2 ** 20],
    ["processor, µs a token", "cpuUsPerToken"],
    ["in runs of a fixed work", "workPerToken"],
    ["not finite", "notFinite"],
  ]);
};

/** Workers that were killed beside a failing store. */
const chaos = ({ timings }: Record_): string =>
  columns(timings, [
    ["results", "results"],
    ["with other bits", "wrong"],
    ["workers killed", "killed"],
    ["texts begun by one, ended by another", "continued"],
    ["calls of the store", "calls"],
    ["of these failed", "failedCalls"],
    ["seconds", "seconds"],
  ]);

/** One worker and two on a queue. */
const queue = ({ timings }: Record_): string =>
  columns(timings, [
    ["workers of one thread", "workers"],
    ["books a minute", "booksPerMinute"],
    ["times one worker's", "ratio"],
    ["processor time, ms a chunk", "cpuMsPerChunk"],
    ["of it the queue's, ms", "queueCpuMsPerChunk"],
    ["load of the machine", "load"],
  ]);

/** Readers that were fuzzed: of each the newest run, since all of them take hours. */
const fuzz = (): string => {
  const rows = recordsOf("fuzz").flatMap(({ commit, timings }) => timings.map((row) => ({ ...row, commit })));
  const newestOf = new Map<unknown, Row>(rows.map((row: Row) => [row["target"], row]));
  return columns(
    [...newestOf.values()],
    [
      ["reader", "target"],
      ["commit", "commit"],
      ["inputs", "inputs"],
      ["seconds", "seconds"],
      ["inputs that reached something new", "kept"],
      ["places reached", "reached"],
      ["faults", "faults"],
    ],
  );
};

/** Every comparison in one table; the limits and our own rows are in the tables above. */
function ratios(): string | null {
  const records = ["peers", "peers_generation", "peers_update"].flatMap((suite) => newest(suite) ?? []);
  const rows = records.flatMap(({ timings }) =>
    timings
      .filter(({ library, ratio }) => !String(library).startsWith("templora") && typeof ratio === "number")
      .map((theirs): Row => {
        const ours = timings.find(({ work, library }) => library === "templora" && work === theirs["work"]);
        return { ...theirs, ours: ours?.["ms"] };
      }),
  );
  if (rows.length === 0) return null;
  return columns(rows, [
    ["work", "work"],
    ["against", "library"],
    ["ours, ms", "ours"],
    ["its, ms", "ms"],
    ["its time ÷ ours", "ratio"],
  ]);
}

/** By name in the documents. Records of WebGPU on a processor (`_webgpu`) and on a GPU (`_gpu`) are kept apart. */
export const tables: Readonly<Record<string, () => string | null>> = {
  kernels: of("kernels", kernels),
  kernels_webgpu: of("kernels_webgpu", kernels),
  kernels_gpu: of("kernels_gpu", kernels),
  decode: of("decode", decode),
  decode_webgpu: of("decode_webgpu", decode),
  decode_gpu: of("decode_gpu", decode),
  prefill: of("prefill", prefill),
  prefill_webgpu: of("prefill_webgpu", prefill),
  prefill_gpu: of("prefill_gpu", prefill),
  update: of("update", update),
  update_webgpu: of("update_webgpu", update),
  update_gpu: of("update_gpu", update),
  schedule: of("schedule", schedule),
  memory: of("memory", memory),
  memory64: of("memory64", memory64),
  memory64_unpaired: of("memory64_unpaired", memory64),
  startup: of("startup", startup),
  ppl: of("ppl", ppl),
  context: of("context", context),
  pg19: of("pg19", pg19),
  pg19_long: of("pg19_long", pg19),
  pg19_whole: of("pg19_whole", pg19),
  pg19_pytorch: of("pg19_pytorch", pg19PyTorch),
  tuned: of("tuned", tuned),
  tuned_books: of("tuned_books", books),
  tuned_gemma3: of("tuned_gemma3", otherModel),
  neighbours: of("neighbours", neighbours),
  search: of("search", search),
  front: of("front", front),
  recall: of("recall", recall),
  lost: of("recall", lost),
  conventions: of("conventions", conventions),
  efficiency: of("efficiency", efficiency),
  latency: of("latency", latency),
  methods: of("methods", methods),
  methods_few_positions: of("methods_few_positions", methods),
  generation_methods: of("generation_methods", generationMethods),
  translation: of("translation", translation),
  translation_smollm2: of("translation_smollm2", translation),
  kills: of("kills", kills),
  kills_torn: of("kills_torn", kills),
  device_faults: of("device_faults", deviceFaults),
  long_run: of("long_run", longRun),
  chaos: of("chaos", chaos),
  queue: of("queue", queue),
  queue_model: of("queue_model", queue),
  cluster_inputs: of("cluster_inputs", clusterInputs),
  cluster_workers: of("cluster_workers", clusterWorkers),
  cluster_workers_gpu: of("cluster_workers", clusterWorkersGpu),
  cluster_limits: of("cluster_limits", clusterLimits),
  cluster_limits_gpu: of("cluster_limits", clusterLimitsGpu),
  cluster_intervals: of("cluster_intervals", clusterIntervals),
  cluster_check: of("cluster_check", clusterCheck),
  fuzz: of("fuzz", fuzz),
  auto: of("auto", auto),
  kept_keys: of("kept_keys", keptKeys),
  mutation: of("mutation", mutation),
  mutation_webgpu: of("mutation_webgpu", mutation),
  peers: of("peers", peers),
  peers_generation: of("peers_generation", peersGeneration),
  peers_generation_gemma3: of("peers_generation_gemma3-270m", peersGeneration),
  peers_update: of("peers_update", peersUpdate),
  ratios,
};
