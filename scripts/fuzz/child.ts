/**
 * A fuzzing process: runs the inputs of the corpus, then others that are made of them, and keeps those that reach what none before them
 * has. Before each input its bytes go into a file, where the process that watches this one (watch.ts) finds them when it hangs or dies.
 */
import { openSync, readFileSync, writeSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import type { Facts } from "./bundle.ts";
import { type Input, inputsIn, isFound, keep, nameOf } from "./corpus.ts";
import { Coverage } from "./coverage.ts";
import { allowOnly } from "./guard.ts";
import { judge, unhandled } from "./judge.ts";
import { mutate } from "./mutate.ts";
import type { Material } from "./mutate_bytes.ts";
import { Random } from "./random.ts";
import { shrunk } from "./shrink.ts";
import type { Fault, Limits, Target } from "./target.ts";
import { targets } from "./targets/index.ts";

/** What a process is to do. */
export interface Job {
  readonly target: string;
  readonly seed: number;
  /** How long, and how many inputs at most; none: those of the folders alone. */
  readonly seconds: number;
  readonly inputs: number;
  /** Ends after so many faults. */
  readonly most?: number;
  /** Folders of inputs to begin with. What is kept goes into the last. */
  readonly corpus: readonly string[];
  /** Inputs that hung or died before, by name. */
  readonly skip: readonly string[];
  readonly limits: Limits;
  /** Where the inputs are put, one by one, and a folder to read them in. */
  readonly current: string;
  readonly place: string;
  /** Instead of fuzzing, the fewest inputs that reach all that those of the corpus reach. */
  readonly minimise?: boolean;
}

/** What it tells. */
export type Told =
  | { readonly type: "fault"; readonly fault: Fault; readonly input: string }
  | ({ readonly type: "at" | "done" } & Count)
  | { readonly type: "fewest"; readonly inputs: readonly string[] };

export interface Count {
  /** Inputs that were there. */
  readonly loaded: number;
  /** Those that were made. */
  readonly runs: number;
  readonly kept: number;
  /** Counters that any has moved. */
  readonly reached: number;
}

const facts = JSON.parse(
  readFileSync(join(fileURLToPath(import.meta.url), "../facts.json"), "utf8"),
) as Facts;
const job = JSON.parse(process.argv[2] ?? "") as Job;
const { place, limits, seconds } = job;
const target = named(job.target);

function named(name: string): Target {
  const found = targets[name];
  if (!found) throw new Error(`${name}: no such target`);
  return found;
}

const tell = (told: Told): void => void process.send?.(told);
/** An input is being read: errors are its affair. */
let reading = false;
for (const event of ["unhandledRejection", "uncaughtException"] as const)
  process.on(event, (error: unknown) => {
    if (reading) unhandled.push(error);
    else {
      console.error(error);
      process.exit(1);
    }
  });
process.on("disconnect", () => process.exit());

const current = openSync(job.current, "w");
const known = new Set<string>();
const coverage = new Coverage(facts.counters);
let runs = 0;

async function judged(input: Uint8Array): Promise<Fault | null> {
  const head = Buffer.alloc(8);
  head.writeUInt32LE(++runs);
  head.writeUInt32LE(input.length, 4);
  writeSync(current, Buffer.concat([head, input]), 0, input.length + 8, 0);
  reading = true;
  const fault = await judge(target, input, place, limits);
  reading = false;
  return fault;
}

/** Runs an input; whether it is new in what it reaches. */
async function tried(input: Uint8Array, coarse = false): Promise<boolean> {
  coverage.clear();
  const fault = await judged(input);
  const fresh = coverage.take(coarse);
  if (fault && !known.has(fault.key)) {
    known.add(fault.key);
    const same = async (smaller: Uint8Array): Promise<boolean> => (await judged(smaller))?.key === fault.key;
    const least = fault.kind === "hang" || fault.kind === "memory" ? input : await shrunk(input, same, 2000);
    tell({ type: "fault", fault, input: Buffer.from(least).toString("base64") });
  }
  return fresh && !fault;
}

/** The words of the modules that the corpus reaches: strings as often as all names together. */
function words(): string[] {
  const near = facts.modules.filter(({ first, next }) => coverage.hasReached(first, next));
  const of = (i: 0 | 1): string[] => [...new Set(near.flatMap((module) => module.words[i]))];
  const [strings, names] = [of(0), of(1)];
  const times = Math.ceil(names.length / Math.max(1, strings.length));
  return [...Array<string[]>(times).fill(strings).flat(), ...names];
}

async function fuzz(pool: Buffer[], loaded: number): Promise<Count> {
  const random = new Random(job.seed);
  const began = performance.now();
  const last = job.corpus.at(-1) ?? "";
  let [made, kept, told] = [0, 0, began];
  // newer ones are more often the way to what is newer still
  const chosen = (): Buffer => pool[Math.max(random.below(pool.length), random.below(pool.length))] as Buffer;
  const material: Material = { random, words: words(), other: () => random.of(pool) };
  const count = (): Count => ({ loaded, runs: made, kept, reached: coverage.reached });
  const most = job.most ?? Infinity;
  for (; made < job.inputs && known.size < most && performance.now() - began < 1000 * seconds; made++) {
    if (performance.now() - told > 1000) {
      tell({ type: "at", ...count() });
      told = performance.now();
    }
    const input = mutate(chosen(), material);
    if (!(await tried(input))) continue;
    pool.push(input);
    kept++;
    keep(last, input);
  }
  return count();
}

/**
 * Each in its turn, the smallest first, where it reaches what those before it do not, without what it does not need for that; those that
 * have a name of somebody's stay as they are.
 */
async function fewest(inputs: readonly Input[]): Promise<string[]> {
  const bySize = [...inputs].sort(
    (a, b) => Number(isFound(a.name)) - Number(isFound(b.name)) || a.bytes.length - b.bytes.length,
  );
  const least: string[] = [];
  for (const { name, bytes } of bySize) {
    const before = new Set(coverage.everReached());
    const fresh = await tried(bytes, true);
    if (!fresh || !isFound(name)) continue;
    const own = coverage.moved().filter((i) => !before.has(i));
    const same = async (smaller: Uint8Array): Promise<boolean> => {
      coverage.clear();
      if (await judged(smaller)) return false;
      const moved = new Set(coverage.moved());
      return own.every((i) => moved.has(i));
    };
    least.push(Buffer.from(await shrunk(bytes, same, 1000)).toString("base64"));
  }
  return least;
}

allowOnly(place);
target.prepare?.(place);
const inputs = job.corpus.flatMap(inputsIn).filter(({ bytes }) => !job.skip.includes(nameOf(bytes)));
if (job.minimise) tell({ type: "fewest", inputs: await fewest(inputs) });
else {
  const pool: Buffer[] = [];
  for (const { bytes } of inputs) if ((await tried(bytes)) || pool.length === 0) pool.push(bytes);
  if (pool.length === 0) pool.push(Buffer.of());
  tell({ type: "done", ...(await fuzz(pool, inputs.length)) });
}
process.disconnect?.();
