/**
 * Watches a fuzzing process (child.ts): when one input takes too long or the process dies, that input is kept as a fault if it does so once more,
 * alone, and another process goes on. All that is found comes back.
 */
import { type ChildProcess, fork } from "node:child_process";
import {
  closeSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readFileSync,
  readSync,
  rmSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Count, Job, Told } from "./child.ts";
import { keep, nameOf } from "./corpus.ts";
import type { Fault } from "./target.ts";

export interface Found extends Fault {
  readonly input: Buffer;
}

export interface Result extends Count {
  readonly faults: readonly Found[];
  readonly seconds: number;
  /** Processes that were ended or died. */
  readonly ended: number;
  /** Where the job was to minimise: the inputs to keep beside those with names. */
  readonly fewest: readonly Uint8Array[];
}

export type Asked = Pick<
  Job,
  "target" | "seed" | "seconds" | "inputs" | "most" | "corpus" | "minimise" | "limits"
>;

const NOTHING: Count = { loaded: 0, runs: 0, kept: 0, reached: 0 };

/** Hangs and deaths, after which a target is left. */
const MOST_ENDED = 20;
const POLL_MS = 100;
/** An input may take so many times longer by the clock than by the processor, which others may have. */
const PATIENCE = 10;
const HEAP_MB = 1024;

/** `program`: what bundle.ts made. `onFault` is called for each as it is found, `onCount` now and then. */
export async function watch(
  program: string,
  asked: Asked,
  onFault: (found: Found) => void = () => undefined,
  onCount: (count: Count) => void = () => undefined,
): Promise<Result> {
  const base = mkdtempSync(join(existsSync("/dev/shm") ? "/dev/shm" : tmpdir(), "templora-fuzz-"));
  const clear = (): void => rmSync(base, { recursive: true, force: true });
  process.once("exit", clear);
  const began = performance.now();
  const faults: Found[] = [];
  const skip: string[] = [];
  let [done, fewest]: [Count, readonly Uint8Array[]] = [NOTHING, []];
  const add = (fault: Fault, input: Buffer): void => {
    if (faults.some(({ key }) => key === fault.key)) return;
    const found = { ...fault, input };
    faults.push(found);
    onFault(found);
  };
  try {
    for (let round = 0; round < MOST_ENDED; round++) {
      const place = join(base, String(round), "place");
      mkdirSync(place, { recursive: true });
      const left = asked.seconds - (performance.now() - began) / 1000;
      const current = join(base, "current");
      let last = NOTHING;
      const job: Job = {
        ...{ ...asked, place, current, skip, seed: asked.seed + round },
        ...{ seconds: Math.max(0, left), inputs: Math.max(0, asked.inputs - done.runs) },
      };
      const outcome = await runChild(program, job, (told) => {
        if (told.type === "fault") add(told.fault, Buffer.from(told.input, "base64"));
        else if (told.type === "fewest") fewest = told.inputs.map((input) => Buffer.from(input, "base64"));
        else onCount((last = told));
      });
      const reached = Math.max(done.reached, last.reached);
      done = { loaded: last.loaded, runs: done.runs + last.runs, kept: done.kept + last.kept, reached };
      if (outcome === "done") break;
      const input = lastInput(current);
      if (input === null)
        throw new Error(`${asked.target}: the fuzzing process ${outcome.what} before any input`);
      skip.push(nameOf(input));
      const again = await alone(program, asked, input, base);
      if (again) add(again, input);
      if (faults.length >= (asked.most ?? Infinity)) break;
    }
    return { ...done, faults, fewest, seconds: (performance.now() - began) / 1000, ended: skip.length };
  } finally {
    process.off("exit", clear);
    clear();
  }
}

/** Whether the input hangs or dies when nothing else is run. */
async function alone(
  program: string,
  { target, limits }: Asked,
  input: Buffer,
  base: string,
): Promise<Fault | null> {
  const [corpus, place] = [join(base, "alone"), join(base, "again", "place")];
  for (const folder of [corpus, place]) {
    rmSync(folder, { recursive: true, force: true });
    mkdirSync(folder, { recursive: true });
  }
  keep(corpus, input);
  const current = join(base, "alone-current");
  let found: Fault | null = null;
  const job = { target, limits, place, current, corpus: [corpus], skip: [], seed: 0, seconds: 0, inputs: 0 };
  const outcome = await runChild(program, job, (told) => {
    if (told.type === "fault") found = told.fault;
  });
  return found ?? (outcome === "done" ? null : outcome);
}

/** Runs a job to its end, however it comes. */
function runChild(program: string, job: Job, onTold: (told: Told) => void): Promise<"done" | Fault> {
  const { seconds } = job.limits;
  rmSync(job.current, { force: true });
  const child: ChildProcess = fork(program, [JSON.stringify(job)], {
    execArgv: ["--expose-gc", "--enable-source-maps", `--max-old-space-size=${HEAP_MB}`, "--no-warnings"],
    env: { ...process.env, TEMPLORA_CACHE: join(job.place, "cache"), HF_HOME: join(job.place, "hf") },
    stdio: ["ignore", "ignore", "pipe", "ipc"],
  });
  let [isDone, hung, stderr] = [false, false, ""];
  let [run, since, cpuSince] = [-1, 0, 0];
  const poll = setInterval(() => {
    const [now, clock, cpu] = [runOf(job.current), performance.now() / 1000, cpuSeconds(child.pid)];
    if (now !== run) [run, since, cpuSince] = [now, clock, cpu];
    else if (run > 0 && (cpu - cpuSince > seconds || clock - since > PATIENCE * seconds)) {
      hung = true;
      child.kill("SIGKILL");
    }
  }, POLL_MS);
  child.stderr?.setEncoding("utf8").on("data", (text: string) => (stderr = (stderr + text).slice(-2000)));
  child.on("message", (told: Told) => {
    if (told.type === "done" || told.type === "fewest") isDone = true;
    onTold(told);
  });
  return new Promise((resolve, reject) => {
    child.once("error", reject);
    child.once("close", (code, signal) => {
      clearInterval(poll);
      if (hung) resolve({ kind: "hang", what: `no end within ${seconds} s`, key: "hang" });
      else if (isDone) resolve("done");
      else if (code === 1 && stderr !== "") reject(new Error(`the fuzzer itself fails: ${stderr}`));
      else {
        const full = /heap out of memory/.test(stderr);
        const what = full ? `${HEAP_MB} MB of heap are full` : `the process ends with ${signal ?? code}`;
        resolve({ kind: "death", what, key: `death ${what}` });
      }
    });
  });
}

/** Of the processor's time that a process has had, as Linux tells; 0 elsewhere, where the clock alone decides. */
function cpuSeconds(pid = 0): number {
  try {
    // behind the name in brackets, which may have spaces: https://man7.org/linux/man-pages/man5/proc_pid_stat.5.html
    const fields = readFileSync(`/proc/${pid}/stat`, "utf8")
      .replace(/^.*\) /, "")
      .split(" ");
    return (Number(fields[11]) + Number(fields[12])) / 100;
  } catch {
    return 0;
  }
}

/** The number of the input that the process has begun. */
function runOf(path: string): number {
  if (!existsSync(path)) return 0;
  const file = openSync(path, "r");
  const head = Buffer.alloc(4);
  readSync(file, head, 0, 4, 0);
  closeSync(file);
  return head.readUInt32LE();
}

function lastInput(path: string): Buffer | null {
  if (runOf(path) === 0) return null;
  const bytes = readFileSync(path);
  return bytes.subarray(8, 8 + bytes.readUInt32LE(4));
}
