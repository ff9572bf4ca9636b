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
import { type BenchCommandOptions, type SuiteName, defaultSuites, suiteNames } from "./bench_options.ts";
import { bytes, table } from "./format.ts";
import { nearest } from "./nearest.ts";
import { type Io, type RecordSink, Terminal, openRecords } from "./output.ts";
import { openChosenDevice, throwIfStopped } from "./session.ts";
import { version } from "./version.ts";

/** `peers` is a program of its own, `tune` answers no table. */
type TableName = Exclude<SuiteName, "peers" | "tune">;

/** Loaded when asked for. */
const suites: Readonly<Record<TableName, () => Promise<Suite>>> = {
  kernels: async () => (await import("../bench/kernels.ts")).kernels,
  decode: async () => (await import("../bench/decode.ts")).decode,
  prefill: async () => (await import("../bench/prefill.ts")).prefill,
  update: async () => (await import("../bench/update.ts")).update,
  memory: async () => (await import("../bench/memory.ts")).memory,
  startup: async () => (await import("../bench/startup.ts")).startup,
};

export async function bench(named: readonly string[], flags: BenchCommandOptions, io: Io): Promise<void> {
  const wanted = chooseSuites([...named, ...(flags.suite ?? [])]);
  if (flags.record && !isCheckout()) {
    throw new BadInputError(
      "--record writes into bench/results of a checkout, and this is an installed package; use --json FILE",
    );
  }
  if (wanted.includes("peers")) findPeers();
  if (wanted.includes("tune") && flags.device === "cpu") {
    throw new BadInputError("bench tune --device cpu: only WebGPU adapters have something to choose from");
  }
  if (flags.reuseCache > 0 && flags.contextGrad === "on") {
    throw new BadInputError(`--reuse-cache ${flags.reuseCache}: needs --context-grad off`);
  }
  const options = resolve(flags);
  const terminal = new Terminal(io, { quiet: flags.quiet === true, jsonOnStdout: flags.json === "-" });
  const records = openRecords(flags.json, io);
  try {
    const facts = {
      ...options,
      version: version(),
      commit: commit(),
      machine: machine(),
    };
    records.write({ type: "config", command: "bench", suites: wanted, ...facts });
    let told = false;
    const given: Bench = {
      options,
      open: async () => {
        const device = await openChosenDevice(
          flags,
          told ? new Terminal(io, { quiet: true, jsonOnStdout: true }) : terminal,
        );
        told = true;
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
  } finally {
    terminal.endProgress();
    records.close();
  }
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
  // Records of the webgpu device are kept apart, so that the newest of each can be shown.
  const filed = result.facts["device"] === "webgpu" ? `${name}_webgpu` : name;
  const facts = { command: `templora bench ${name}`, ...result.facts };
  terminal.note(`wrote ${await writeRecord(filed, facts, result.rows)}`);
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

function resolve(flags: BenchCommandOptions): BenchOptions {
  const { device, threads, model = DEFAULT_MODEL, seed, only, rank, dropout, contextGrad } = flags;
  const { checkpointLayers, reuseCache } = flags;
  const quick = flags.quick === true;
  const chunk = flags.chunk ?? (quick ? 64 : 512);
  return {
    ...{ device, quick, only, model, seed, chunk, window: flags.window ?? chunk },
    ...{ checkpointLayers, reuseCache },
    ...(threads !== undefined && { threads }),
    recipe: { ...recipes.paper, rank, alpha: rank, dropout, context_grad: contextGrad === "on" },
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

/** Measures the variants of the WebGPU products on the adapter at hand, and keeps the choice. */
async function runTuner(terminal: Terminal): Promise<void> {
  const { openWebGpuDevice } = await import("../engine/backends/webgpu/backend.ts");
  const { tune } = await import("../engine/backends/webgpu/tuner.ts");
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

/** In a process of its own: the peers' threads and devices have no end of their own. */
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
