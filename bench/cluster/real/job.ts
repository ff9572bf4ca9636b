/** One job of the tests' tiny model by real workers, queue and store: when it was done, and what its tasks have cost. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout } from "node:timers/promises";
import { getResult, resultsIn } from "../../../cli/queue/ledger.ts";
import { openStore } from "../../../cli/queue/open_store.ts";
import { jsonLines, templora } from "../../../test/support/cli.ts";
import { bookName, machine, makeJob, reading } from "../../../test/support/queue.ts";
import { QueueServer } from "../../../test/support/servers.ts";
import { readingSeconds } from "../measure/starting.ts";
import { type Machines, RunningMachines } from "./machines.ts";

export interface Told {
  /** From the workers' start to the last result. */
  readonly seconds: number;
  readonly killed: number;
  readonly tasks: readonly TaskTold[];
  /** The workers' words, each with the seconds at which it was heard. */
  readonly said: readonly (readonly [seconds: number, line: string])[];
}

interface TaskTold {
  readonly name: string;
  readonly tokens: number;
  readonly seconds: number;
  /** Begun by one worker, ended by another. */
  readonly isContinued: boolean;
}

export interface RealJob extends Omit<Machines, "argv"> {
  /** Characters of each book. */
  readonly characters: readonly number[];
  readonly checkpointEvery: number;
  readonly lock: number;
}

export const CHUNK = reading.chunk;

export async function realJob({ characters, checkpointEvery, lock, ...machines }: RealJob): Promise<Told> {
  const folder = mkdtempSync(join(tmpdir(), "templora-cluster-"));
  process.env["TEMPLORA_CACHE"] = join(folder, "cache");
  const longest = Math.max(...characters);
  const job = makeJob(folder, characters.length, Math.min(longest, 8000));
  for (const [i, length] of characters.entries()) {
    const path = join(folder, "books", bookName(i));
    const text = readFileSync(path, "utf8");
    writeFileSync(path, text.repeat(Math.ceil(length / text.length)).slice(0, length));
  }
  await using server = await QueueServer.start();
  const place = ["--queue", server.url, "--store", join(folder, "store")];
  const submitted = await templora(["submit", job, ...place]);
  if (submitted.code !== 0) throw new Error(submitted.stderr);
  const store = await openStore(join(folder, "store"));
  const argv = [...place, ...machine, "--checkpoint-every", String(checkpointEvery), "--lock", String(lock)];
  const began = performance.now();
  const now = (): number => (performance.now() - began) / 1000;
  const said: (readonly [number, string])[] = [];
  let [seconds, killed] = [0, 0];
  {
    await using running = new RunningMachines({ ...machines, argv });
    const heard = new Map<object, number>();
    for (let results = 0; results < characters.length; await setTimeout(20)) {
      for (const worker of running.workers) {
        const from = heard.get(worker) ?? 0;
        const to = worker.said.lastIndexOf("\n") + 1;
        for (const line of worker.said.slice(from, to).split("\n").filter(Boolean)) said.push([now(), line]);
        heard.set(worker, to);
      }
      results = (await resultsIn(store)).length;
    }
    seconds = now();
    killed = running.killed;
  }
  const texts = await Promise.all((await resultsIn(store)).map((key) => getResult(store, key)));
  rmSync(folder, { recursive: true, force: true });
  const tasks = texts.map((text) => toldOf(text ?? "")).sort((a, b) => (a.name < b.name ? -1 : 1));
  return { seconds, killed, tasks, said };
}

function toldOf(result: string): TaskTold {
  const lines = jsonLines(result);
  const chunks = lines.filter(({ type }) => type === "chunk");
  const { text, resumed_from } = lines[0] as { text: { name: string }; resumed_from: unknown };
  return {
    name: text.name,
    tokens: 1 + chunks.reduce((sum, { tokens }) => sum + Number(tokens), 0), // the first one is not scored
    seconds: readingSeconds(result),
    isContinued: resumed_from !== null,
  };
}
