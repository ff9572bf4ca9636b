/** `templora bench`: runs suites of bench/, prints their tables, writes their lines and records. */
import { spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { commit, isCheckout, machine, writeRecord } from "../bench/record.ts";
import {
  type Bench,
  type BenchOptions,
  DEFAULT_MODEL,
  type Result,
  type Row,
  type Suite,
} from "../bench/suite.ts";
import { BadInputError } from "../engine/errors.ts";
import { recipes } from "../templora/config.ts";
import { type RecordSink, assertDistinct, keeping, openRecords } from "./files.ts";
import { bytes, table } from "./format.ts";
import { findModel } from "./hub/find.ts";
import { nearest } from "./nearest.ts";
import { type CommonOptions, type Define, addCommonOptions } from "./options.ts";
import { type Io, Terminal } from "./output.ts";
import { numeric } from "./parsers.ts";
import { type RecipeOptions, recipeOption, resolveRecipe } from "./recipe.ts";
import { openChosenDevice, openTerminal, throwIfStopped } from "./session.ts";
import { version } from "./version.ts";

/** All suites. When several are named, they run in this order. */
const suiteNames = [
  "kernels",
  "decode",
  "prefill",
  "update",
  "schedule",
  "memory",
  "startup",
  "tune",
  "peers",
] as const;
type SuiteName = (typeof suiteNames)[number];
/** The suites that run when none is named. */
const defaultSuites: readonly SuiteName[] = ["kernels", "decode", "prefill", "update"];

/** As commander delivers them: undefined = not given. */
interface BenchCommandOptions extends CommonOptions, Pick<RecipeOptions, "rank" | "dropout" | "contextGrad"> {
  readonly suite?: string[];
  readonly only: string;
  readonly quick?: boolean;
  readonly record?: boolean;
  readonly chunk?: number;
  readonly window?: number;
  readonly checkpointLayers: number;
  readonly reuseCache: number;
}

export const bench: Define = (command, io) => {
  const integer = true;
  command
    .description(
      "Measures this machine: medians with quartiles over interleaved repetitions, GFLOP/s and GB/s by the kernels' declared " +
        "cost, and their share of the device's limits (a register-only FMA loop and a copy), measured in the same run. " +
        "Suites: kernels (each at a model's shapes), decode, prefill, update (Temp-LoRA's work on one chunk), schedule (writing under both schedules; on the CPU), memory (of " +
        "several chunks in a separate process), startup, tune (which matrix tile is fastest on this WebGPU adapter, kept in " +
        "$TEMPLORA_CACHE/tune-webgpu.json and used from then on; may change the last bits of results), peers (other " +
        "libraries; needs the repository). " +
        `Default: ${defaultSuites.join(", ")}.`,
    )
    .argument("[suites...]", `any of ${suiteNames.join(", ")}`);
  addCommonOptions(command)
    .optionsGroup("Work:")
    .option("--suite <names...>", "the same as naming suites first")
    .option("--quick", "fewer repetitions and smaller sizes: seconds instead of minutes, wider spread")
    .option("--only <text>", "kernels: those with this in their name", "")
    .addOption(
      numeric("--chunk <tokens>", "update, schedule, memory: tokens a chunk (default: 512; --quick 64)", {
        integer,
        min: 2,
      }),
    )
    .addOption(
      numeric("--window <tokens>", "update, schedule, memory: context tokens before it (default: --chunk)", {
        integer,
        min: 0,
      }),
    )
    .addOption(recipeOption("rank", recipes.paper.rank))
    .addOption(recipeOption("dropout", 0, "update, schedule, memory: "))
    .addOption(recipeOption("context_grad", true, "update, schedule, memory: "))
    .addOption(
      numeric(
        "--checkpoint-layers <n>",
        "update, schedule, memory: first layers that run again in the backward",
        {
          integer,
          min: 0,
        },
      ).default(0),
    )
    .addOption(
      numeric(
        "--reuse-cache <k>",
        "schedule, and update and memory with --context-grad off: updates that cached keys and values outlive",
        { integer, min: 0, max: 1_000_000 },
      ).default(0),
    )
    .option("--record", "write bench/results/<suite>-<date>-<commit>.json (in a checkout)")
    .addHelpText("after", "\nExample:\n  templora bench kernels decode --quick --json -\n")
    .action((suites: string[], options: BenchCommandOptions) => run(suites, options, io));
};

/** Suites that return a table: `peers` is a separate program, and `tune` prints lines as it measures. */
type TableName = Exclude<SuiteName, "peers" | "tune">;

/** Each suite is imported when it runs. */
const suites: Readonly<Record<TableName, () => Promise<Suite>>> = {
  kernels: async () => (await import("../bench/kernels.ts")).kernels,
  decode: async () => (await import("../bench/decode.ts")).decode,
  prefill: async () => (await import("../bench/prefill.ts")).prefill,
  update: async () => (await import("../bench/update.ts")).update,
  schedule: async () => (await import("../bench/schedule.ts")).schedule,
  memory: async () => (await import("../bench/memory.ts")).memory,
  startup: async () => (await import("../bench/startup.ts")).startup,
};

async function run(named: readonly string[], flags: BenchCommandOptions, io: Io): Promise<void> {
  const wanted = chooseSuites([...named, ...(flags.suite ?? [])]);
  if (flags.record && !isCheckout()) {
    throw new BadInputError(
      "--record writes into bench/results of a checkout, and this is an installed package; use --json FILE",
    );
  }
  if (wanted.includes("peers")) findPeers();
  if (wanted.includes("tune") && flags.device === "cpu") {
    throw new BadInputError("bench tune --device cpu: it measures WebGPU adapters only; leave --device out");
  }
  using terminal = openTerminal(flags, io);
  const { model = DEFAULT_MODEL } = flags;
  const options = { ...resolve(flags), model: await findModel(model, flags, terminal, io) };
  if (
    options.reuseCache > 0 &&
    options.recipe.context_grad &&
    wanted.some((name) => name === "update" || name === "memory")
  ) {
    throw new BadInputError(`--reuse-cache ${options.reuseCache}: update and memory need --context-grad off`);
  }
  assertDistinct({ "--json": flags.json }, { "--model": options.model });
  using records = await openRecords(flags.json, io, terminal);
  await keeping([records.file], terminal, async () => {
    const facts = { ...options, version: version(), commit: commit(), machine: machine() };
    records.write({ type: "config", command: "bench", suites: wanted, ...facts });
    let noted = false;
    const given: Bench = {
      options,
      open: async () => {
        const silent = new Terminal(io, { quiet: true, jsonOnStdout: true });
        const device = await openChosenDevice(flags, noted ? silent : terminal);
        noted = true;
        return device;
      },
      progress: (label, fraction) => {
        throwIfStopped(io);
        terminal.progress({ label, fraction, figures: `${Math.round(100 * fraction)} %` });
      },
      note: (line) => terminal.note(line),
    };
    for (const name of wanted) {
      if (name === "peers") await runPeers(flags, io);
      else if (name === "tune") await runTuner(terminal);
      else await runSuite(name, given, flags, terminal, records);
    }
  });
}

async function runSuite(
  name: TableName,
  given: Bench,
  { record }: BenchCommandOptions,
  terminal: Terminal,
  records: RecordSink,
): Promise<void> {
  const suite = await suites[name]();
  const result = await suite(given);
  terminal.endProgress();
  for (const row of result.rows) records.write({ type: "timing", suite: name, ...row });
  records.write({ type: "summary", suite: name, ...result.facts });
  print(name, result, terminal);
  if (!record) return;
  const filed = `${name}${suffixOf(result.facts)}`;
  const facts = { command: `templora bench ${name}`, ...result.facts };
  terminal.note(`wrote ${await writeRecord(filed, facts, result.rows)}`);
}

/** Records of WebGPU on a processor and on a GPU are kept apart, so that the newest of each can be shown. */
function suffixOf({ device, adapter_info }: Result["facts"]): string {
  if (device !== "webgpu") return "";
  return (adapter_info as { software: boolean } | undefined)?.software === false ? "_gpu" : "_webgpu";
}

function chooseSuites(names: readonly string[]): readonly SuiteName[] {
  for (const name of names) {
    if (!suiteNames.some((suite) => suite === name)) {
      throw new BadInputError(
        `bench ${name}: no such suite${nearest(name, suiteNames)}; there are ${suiteNames.join(", ")}`,
      );
    }
  }
  return names.length === 0 ? defaultSuites : suiteNames.filter((suite) => names.includes(suite));
}

function resolve(flags: BenchCommandOptions): Omit<BenchOptions, "model"> {
  const { device, threads, seed, only } = flags;
  const { checkpointLayers, reuseCache } = flags;
  const quick = flags.quick === true;
  const chunk = flags.chunk ?? (quick ? 64 : 512);
  return {
    ...{ device, quick, only, seed, chunk, window: flags.window ?? chunk },
    ...{ checkpointLayers, reuseCache },
    ...(threads !== undefined && { threads }),
    recipe: resolveRecipe({ recipe: "paper", ...flags }),
  };
}

/** The table of a suite: the columns that its rows have, then its own figures. */
function print(name: string, { rows, facts }: Result, terminal: Terminal): void {
  const percent = (x: unknown): string => (typeof x === "number" ? `${x.toFixed(0)} %` : "");
  const number = (x: unknown): string => (typeof x === "number" ? Number(x.toPrecision(4)).toString() : "");
  const columns: [title: string, key: string, cell: (row: Row) => string][] = [
    ["calls", "calls", (row) => number(row["calls"])],
    ["ms", "ms", (row) => number(row.ms)],
    ["quartiles", "ms", ({ lower, upper }) => (lower < upper ? `${number(lower)}–${number(upper)}` : "")],
    ["p95", "p95_ms", (row) => number(row["p95_ms"])],
    ["longest", "longest_ms", (row) => number(row["longest_ms"])],
    ["longest ÷ median", "longest_over_median", (row) => number(row["longest_over_median"])],
    ["in all, s", "wall_seconds", (row) => number(row["wall_seconds"])],
    ["of the step", "step_percent", (row) => percent(row["step_percent"])],
    ["tokens/s", "tokens_per_second", (row) => number(row["tokens_per_second"])],
    ["GFLOP/s", "gflops", (row) => number(row.gflops)],
    ["of FMA", "fma_percent", (row) => percent(row.fma_percent)],
    ["GB/s", "gbps", (row) => number(row.gbps)],
    ["of copy", "copy_percent", (row) => percent(row.copy_percent)],
    ["roofline", "roofline_percent", (row) => percent(row.roofline_percent)],
    ["outside kernels", "outside_kernels_percent", (row) => percent(row["outside_kernels_percent"])],
    ["RSS", "rss", (row) => bytes(Number(row["rss"]))],
    ["peak RSS", "peak_rss", (row) => bytes(Number(row["peak_rss"]))],
    ["device", "device", (row) => bytes(Number(row["device"]))],
    ["peak device", "peak_device", (row) => bytes(Number(row["peak_device"]))],
  ];
  const used = columns.filter(([, key]) => rows.some((row) => row[key] !== undefined));
  const head = [name, ...used.map(([title]) => title)];
  terminal.result(
    `\n${table([head, ...rows.map((row) => [row.name, ...used.map(([, , cell]) => cell(row))])])}`,
  );
  const line = Object.entries(facts)
    .filter(([, value]) => typeof value !== "object" && value !== undefined)
    .map(
      ([key, value]) =>
        `${key.replaceAll("_", " ")} ${typeof value === "number" ? number(value) : String(value)}`,
    );
  terminal.result(`${line.join(", ")}\n`);
}

/** Measures the variants of the WebGPU products on this machine's adapter, and stores the choice. */
async function runTuner(terminal: Terminal): Promise<void> {
  const { openWebGpuDevice } = await import("../engine/backends/webgpu/backend.ts");
  const { tune } = await import("../bench/tune.ts");
  const device = await openWebGpuDevice({ profile: true, tuned: {} });
  try {
    terminal.note(`measuring on ${device.info.description}`);
    await tune(device, (line) => {
      terminal.result(`${line}\n`);
    });
  } finally {
    await device.close();
  }
}

/** The program that compares with other libraries; only the repository has it. */
function findPeers(): string {
  const path = fileURLToPath(new URL("../bench/peers/main.ts", import.meta.url));
  if (existsSync(path)) return path;
  throw new BadInputError(
    "bench peers: the other libraries are no part of the package; clone the repository, then: npm ci && npm run bench:peers",
  );
}

/** Runs the comparison as a child process, because the other libraries never end their threads and devices. */
function runPeers({ quick, record, threads }: BenchCommandOptions, io: Io): Promise<void> {
  const args = ["--import", "tsx", findPeers()];
  if (quick) args.push("--quick");
  if (record) args.push("--record");
  if (threads !== undefined) args.push("--threads", String(threads));
  const child = spawn(process.execPath, args, { stdio: ["ignore", "pipe", "inherit"], signal: io.signal });
  child.stdout.setEncoding("utf8").on("data", (text: string) => io.stdout.write(text));
  return new Promise((done, failed) => {
    child.once("error", failed);
    child.once("close", (code) => {
      if (code === 0) done();
      else if (code === 2) failed(new BadInputError("bench peers: see above"));
      else failed(new Error(`bench peers ended with ${code}`));
    });
  });
}
