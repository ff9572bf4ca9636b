/** Workers on one queue that are killed again and again, while the store fails a share of its calls and the queue's server restarts once. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout } from "node:timers/promises";
import { getResult, resultsIn } from "../../cli/queue/ledger.ts";
import { openStore } from "../../cli/queue/open_store.ts";
import { jsonLines, templora } from "./cli.ts";
import { type WorkerProcess, bookName, lone, machine, made, makeJob, startWorker } from "./queue.ts";
import type { ServerProgram } from "./queue_servers.ts";
import { FailingProxy, QueueServer, S3Server, awsAt } from "./servers.ts";

export interface ChaosOptions {
  readonly books: number;
  readonly characters: number;
  readonly workers: number;
  readonly killEveryMs: number;
  /** Share of the store's calls that fail. */
  readonly failing: number;
  readonly limitMs: number;
  /** The queue's server; Redis where none is named. */
  readonly program?: ServerProgram;
}

export interface ChaosOutcome {
  readonly results: number;
  /** Results that a lone run would not have had. */
  readonly wrong: number;
  /** Deliveries that made one, of all that were done. */
  readonly made: number;
  readonly killed: number;
  /** Results whose text was begun by one worker and ended by another. */
  readonly continued: number;
  readonly failedCalls: number;
  readonly calls: number;
  readonly seconds: number;
}

export async function chaos(
  options: ChaosOptions,
  note: (line: string) => void = () => undefined,
): Promise<ChaosOutcome> {
  const { books, characters, workers, killEveryMs, failing, limitMs, program } = options;
  const folder = mkdtempSync(join(tmpdir(), "templora-chaos-"));
  const job = makeJob(folder, books, characters);
  await using queue = await QueueServer.start(program);
  await using s3 = await S3Server.start();
  await using proxy = await FailingProxy.start(s3.port, failing);
  const env = { ...awsAt(proxy.port), TEMPLORA_CACHE: join(folder, "cache") };
  Object.assign(process.env, env);
  const place = ["--queue", queue.url, "--store", "s3://templora/chaos"];
  const submitted = await templora(["submit", job, ...place]);
  if (submitted.code !== 0) throw new Error(submitted.stderr);
  note(submitted.stdout.trim());

  const argv = [...place, ...machine, "--lock", "2", "--checkpoint-every", "0"];
  const began = performance.now();
  const running: WorkerProcess[] = Array.from({ length: workers }, () => startWorker(argv, env));
  const store = await openStore("s3://templora/chaos");
  let [killed, restarted, stored] = [0, false, ""];
  try {
    for (let next = began + killEveryMs; ; await setTimeout(200)) {
      const results = await resultsIn(store);
      if (results.length >= books) break;
      if (performance.now() - began > limitMs)
        throw new Error(
          `${results.length} of ${books} results; ${running.map(({ said }) => said.slice(-600)).join("\n")}`,
        );
      if (!restarted && results.length >= books / 2) {
        await queue.restart();
        restarted = true;
        note(`the queue's server restarted after ${results.length} results`);
      }
      if (performance.now() < next) continue;
      const victim = killed % workers;
      const now = [...results, ...(await store.list("checkpoints/"))].join();
      // On a busy machine a worker takes longer to begin than others live: something new must be stored between two kills.
      if (now === stored || running[victim]?.said.includes(": begun") !== true) continue;
      stored = now;
      next = performance.now() + killEveryMs;
      killed++;
      running[victim].kill("SIGKILL", killed % 2 === 0); // every second time its child goes on for a moment
      running[victim] = startWorker(argv, env);
    }
  } finally {
    for (const worker of running) worker.kill("SIGTERM");
    await Promise.race([
      Promise.all(running.map(({ ended }) => ended)),
      setTimeout(10_000, undefined, { ref: false }),
    ]);
    for (const worker of running) worker.kill("SIGKILL", true);
  }
  const seconds = (performance.now() - began) / 1000;
  // deliveries of what was done when its worker died find the result
  const last = await templora(["worker", ...argv, "--until-empty"]);
  if (last.code !== 0) throw new Error(last.stderr);
  const listed = await templora(["jobs", ...place, "--json", "-"]);
  const done = jsonLines(listed.stdout).filter(({ state }) => state === "done").length;

  let [wrong, continued, found] = [0, 0, 0];
  const keys = await resultsIn(store);
  const byName = new Map(
    await Promise.all(
      keys.map(async (key) => {
        const result = made((await getResult(store, key)) ?? "");
        return [result.name, result] as const;
      }),
    ),
  );
  for (let i = 0; i < books; i++) {
    const result = byName.get(bookName(i));
    if (!result) continue;
    found++;
    if (result.task["resumed_from"] !== null) continued++;
    if (JSON.stringify(result.lines) !== JSON.stringify(await lone(folder, i))) wrong++;
  }
  rmSync(folder, { recursive: true, force: true });
  const { failed: failedCalls, passed } = proxy;
  if (done !== books || keys.length !== found) throw new Error(`${done} tasks done, ${keys.length} results`);
  return {
    results: found,
    wrong,
    made: done,
    killed,
    continued,
    failedCalls,
    calls: failedCalls + passed,
    seconds,
  };
}
