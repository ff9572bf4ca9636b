/**
 * How everything here is timed: all candidates of a comparison in turn, round after round, so that a slow minute of
 * the machine falls on all of them alike; medians with their spread; and a record with machine, commit and date.
 */
import { execFileSync } from "node:child_process";
import { mkdirSync, writeFileSync } from "node:fs";
import { arch, availableParallelism, cpus, platform, totalmem } from "node:os";

export interface Candidate {
  readonly name: string;
  /** One run; asynchronous work must be done when it resolves. */
  run(): void | Promise<void>;
  /** Arithmetic operations and bytes of one run, where rates make sense. */
  readonly flops?: number;
  readonly bytes?: number;
}

export interface Timing {
  readonly name: string;
  /** Milliseconds of one run: the median over rounds, and its quartiles. */
  readonly ms: number;
  readonly lower: number;
  readonly upper: number;
  readonly rounds: number;
  readonly gflops?: number;
  readonly gbps?: number;
}

export interface MeasureOptions {
  /** Times each candidate is sampled (default 9). */
  readonly rounds?: number;
  /** A sample repeats a candidate for about so long (default 30 ms). */
  readonly sampleMs?: number;
}

/** Warm-up runs: code is compiled in tiers, memory touched, pipelines made. */
const WARM_UP_MS = 60;

export async function measure(
  candidates: readonly Candidate[],
  options: MeasureOptions = {},
): Promise<Timing[]> {
  const { rounds = 9, sampleMs = 30 } = options;
  const plans = [];
  for (const candidate of candidates) {
    const start = performance.now();
    let runs = 0;
    do {
      await candidate.run();
      runs++;
    } while (performance.now() - start < WARM_UP_MS);
    const once = await sample(candidate, Math.ceil(runs / 4));
    plans.push({ candidate, repeats: Math.max(1, Math.round(sampleMs / once)), samples: [] as number[] });
  }
  for (let round = 0; round < rounds; round++) {
    for (const { candidate, repeats, samples } of plans) samples.push(await sample(candidate, repeats));
  }
  return plans.map(({ candidate, samples }) => timing(candidate, samples));
}

async function sample(candidate: Candidate, repeats: number): Promise<number> {
  const start = performance.now();
  for (let i = 0; i < repeats; i++) {
    const running = candidate.run();
    if (running) await running;
  }
  return (performance.now() - start) / repeats;
}

function timing({ name, flops = 0, bytes = 0 }: Candidate, samples: number[]): Timing {
  samples.sort((a, b) => a - b);
  const at = (q: number): number => samples[Math.round(q * (samples.length - 1))];
  const ms = at(0.5);
  return {
    name,
    ms,
    lower: at(0.25),
    upper: at(0.75),
    rounds: samples.length,
    ...(flops > 0 && { gflops: flops / ms / 1e6 }),
    ...(bytes > 0 && { gbps: bytes / ms / 1e6 }),
  };
}

/** The timing of that name. */
export function find(timings: readonly Timing[], name: string): Timing {
  const found = timings.find((t) => t.name === name);
  if (!found) throw new RangeError(`no timing named ${name}`);
  return found;
}

export interface MachineFacts {
  readonly cpu: string;
  readonly cores: number;
  readonly memoryGiB: number;
  readonly os: string;
  readonly node: string;
}

export function machine(): MachineFacts {
  return {
    cpu: cpus()[0]?.model.trim() ?? "unknown",
    cores: availableParallelism(),
    memoryGiB: Math.round(totalmem() / 2 ** 30),
    os: `${platform()} ${arch()}`,
    node: process.versions.node,
  };
}

/** The commit's short hash, "+" after it when the tree has changes; "none" outside a repository. */
export function commit(): string {
  try {
    const git = (...args: string[]): string =>
      execFileSync("git", args, { encoding: "utf8", stdio: "pipe" }).trim();
    return git("rev-parse", "--short", "HEAD") + (git("status", "--porcelain") === "" ? "" : "+");
  } catch {
    return "none";
  }
}

/** Writes bench/results/<suite>-<date>-<commit>.json and answers its path. */
export function writeRecord(suite: string, facts: object, timings: readonly object[]): string {
  const folder = new URL("./results/", import.meta.url);
  const date = new Date().toISOString();
  const path = new URL(`${suite}-${date.slice(0, 10)}-${commit()}.json`, folder);
  mkdirSync(folder, { recursive: true });
  const record = { suite, date, commit: commit(), machine: machine(), ...facts, timings };
  writeFileSync(path, `${JSON.stringify(record, null, 2)}\n`);
  return path.pathname;
}
