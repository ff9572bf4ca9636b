/**
 * Runs a command of templora in this process and looks, at each of its chunks, at what a long run must not let grow: memory of the
 * process and of the device, the state, and the processor's time for a token. Summed up by tenths of the text.
 */
import { statSync } from "node:fs";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { run } from "../../cli/program.ts";
import type { Device } from "../../engine/device.ts";

/** A tenth of a text. Figures of memory are those at its end. */
export interface Tenth {
  /** Tokens up to its end. */
  readonly tokens: number;
  /** The most that the process had in memory at the end of one of its chunks. */
  readonly mostRssBytes: number;
  /** What it had after a collection of garbage, and what of it were JavaScript's objects. */
  readonly rssBytes: number;
  readonly heapBytes: number;
  readonly liveBuffers: number;
  readonly liveBytes: number;
  readonly stateBytes: number;
  /** Microseconds of the processor, of all threads. */
  readonly cpuUsPerToken: number;
  /** The same, counted in runs of a fixed piece of work beside each chunk, which a busy machine makes slower as well. */
  readonly workPerToken: number;
  /** Microseconds that passed, while others used the machine as well. */
  readonly wallUsPerToken: number;
}

export interface Watched {
  readonly code: number;
  /** What it said on stderr. */
  readonly said: string;
  readonly tenths: readonly Tenth[];
  /** Scores and losses that were no finite number. */
  readonly notFinite: number;
}

setFlagsFromString("--expose-gc");
const gc = runInNewContext("gc") as (how: object) => void;
const collect = (): void => gc({ type: "major", execution: "sync", flavor: "last-resort" });

const numbers = new Float32Array(2 ** 16).fill(1);
/** A fixed piece of work. */
function fixedWork(): number {
  return numbers.reduce((sum, x) => sum + x * x, 0);
}
const microseconds = ({ user, system }: NodeJS.CpuUsage): number => user + system;

const SAID = 4000;

/** `argv` is without --json. `tokens`: of the text that it reads or writes, all of which is learnt. */
export async function watch(argv: readonly string[], tokens: number): Promise<Watched> {
  const tenths: Tenth[] = [];
  let device: Device | null = null;
  let [said, notFinite, mostRssBytes, stateBytes, due] = ["", 0, 0, 0, false];
  let [fixed, chunks] = [0, 0];
  let [before, cpu, wall] = [0, process.cpuUsage(), performance.now()];
  const chunk = (line: Record<string, unknown>): void => {
    for (const figure of [line["base_nll"], line["lora_nll"], line["train_loss"]].flat())
      if (figure === null ? argv[0] === "ppl" : !Number.isFinite(figure)) notFinite++;
    mostRssBytes = Math.max(mostRssBytes, process.memoryUsage.rss());
    const beside = process.cpuUsage();
    fixedWork();
    fixed += microseconds(process.cpuUsage(beside));
    chunks++;
    const done = Number(line["start"]) + Number(line["tokens"]) + (line["start"] === 0 ? 1 : 0);
    if (tenths.length === 10 || done < ((tenths.length + 1) * tokens) / 10) return;
    const cpuUsPerToken = (microseconds(process.cpuUsage(cpu)) - fixed) / (done - before);
    const passed = 1000 * (performance.now() - wall);
    collect();
    const { liveBuffers = 0, liveBytes = 0 } = device?.stats() ?? {};
    const { rss: rssBytes, heapUsed: heapBytes } = process.memoryUsage();
    tenths.push({
      ...{
        tokens: done,
        mostRssBytes,
        rssBytes,
        heapBytes,
        liveBuffers,
        liveBytes,
        stateBytes,
        cpuUsPerToken,
      },
      ...{ workPerToken: (cpuUsPerToken * chunks) / fixed, wallUsPerToken: passed / (done - before) },
    });
    [before, cpu, wall, mostRssBytes, due] = [done, process.cpuUsage(), performance.now(), 0, true];
    [fixed, chunks] = [0, 0];
  };
  const code = await run([...argv, "--json", "-"], {
    stdin: Object.assign(nothing(), { isTTY: true }),
    stdout: {
      write: (text) => {
        const line = JSON.parse(text) as Record<string, unknown>;
        if (line["type"] === "chunk") chunk(line);
      },
    },
    stderr: { write: (text) => (said = (said + text).slice(-SAID)) },
    env: process.env,
    signal: new AbortController().signal,
    stop: (reason) => {
      throw reason;
    },
    opened: (one) => (device = one),
    checkpoints: {
      // Once in each tenth, which is more often than a run does by itself.
      get everyMs() {
        return due ? -1 : Infinity;
      },
      saved: (path) => {
        due = false;
        stateBytes = statSync(path).size;
      },
    },
  });
  return { code, said, tenths, notFinite };
}

async function* nothing(): AsyncGenerator<string> {}
