/** `templora jobs`: how far the tasks of a queue are, what failed, and the results. */
import { BadInputError } from "../../engine/errors.ts";
import { keeping, openRecords } from "../files.ts";
import { count, table } from "../format.ts";
import { type CommonOptions, type Define, addOutputOptions } from "../options.ts";
import type { Io, Terminal } from "../output.ts";
import { numeric } from "../parsers.ts";
import { openTerminal } from "../session.ts";
import { type PlaceOptions, addPlaceOptions, given } from "./options.ts";
import { Queues, type TaskProgress, type TaskQueue } from "./queues.ts";
import { readResults, resultsTable } from "./results.ts";
import { openStore } from "./open_store.ts";
import type { Task } from "./tasks.ts";

interface JobsOptions extends PlaceOptions, Pick<CommonOptions, "json" | "quiet"> {
  readonly results?: true;
  readonly retry?: string;
  readonly cancel?: string;
  readonly serve?: number;
}

export const jobs: Define = (command, io) => {
  addPlaceOptions(
    command.description(
      "Shows the tasks of a queue: those in progress with how far they are, those that failed with the reason, and how many wait. A task is " +
        "named by its key or the first characters of it.",
    ),
  )
    .optionsGroup("Tasks:")
    .option("--results", "the results in --store, as one table")
    .option("--retry <key>", "put a failed task back into the queue; failed: all of them")
    .option(
      "--cancel <key>",
      "take a task out of the queue, and stop it where it is in progress; all: all of them",
    )
    .addOption(
      numeric(
        "--serve <port>",
        "serve a page of the queue (bull-board) at /, and figures for Prometheus at /metrics",
        {
          ...{ integer: true, min: 0, max: 65_535 },
        },
      ),
    );
  addOutputOptions(command)
    .addHelpText(
      "after",
      "\nExamples:\n  templora jobs --queue redis://head:6379\n  templora jobs --results --store s3://bucket/books\n",
    )
    .action((options: JobsOptions) => run(options, io));
};

async function run(options: JobsOptions, io: Io): Promise<void> {
  using terminal = openTerminal(options, io);
  using records = await openRecords(options.json, io, terminal);
  await keeping([records.file], terminal, async () => {
    if (options.results) {
      const results = await readResults(await openStore(given(options.store, "--store")));
      for (const result of results) records.write({ type: "result", ...result });
      terminal.result(results.length === 0 ? "no results yet\n" : resultsTable(results));
      return;
    }
    await using queues = await Queues.open(given(options.queue, "--queue"));
    if (options.retry !== undefined) await retry(queues, options.retry, terminal);
    else if (options.cancel !== undefined) await cancel(queues, options.cancel, terminal);
    else if (options.serve !== undefined)
      await (await import("./board.ts")).serveBoard(queues, options.serve, terminal, io);
    else await list(queues, records, terminal);
  });
}

interface Listed {
  readonly queue: TaskQueue;
  readonly state: string;
  readonly task: Task;
  readonly progress: TaskProgress | null;
  readonly reason: string;
  readonly seconds: number;
}

/** In the order in which a task passes them: one that moves on while they are read is read twice, and not missed. */
const states = ["wait", "active", "delayed", "failed", "completed"] as const;

/** Of times that two machines' clocks may have told. */
function secondsBetween(began?: number, ended?: number): number {
  return began === undefined ? 0 : Math.max(0, ((ended ?? Date.now()) - began) / 1000);
}

async function all(queues: Queues, of: readonly (typeof states)[number][] = states): Promise<Listed[]> {
  const listed = new Map<string, Listed>();
  for (const facts of await queues.known()) {
    const queue = queues.of(facts);
    for (const state of of)
      for (const job of await queue.getJobs([state]))
        listed.set(job.data.key, {
          ...{ queue, state: state === "wait" ? "waiting" : state === "completed" ? "done" : state },
          ...{ task: job.data, reason: job.failedReason ?? "" },
          progress: typeof job.progress === "object" ? (job.progress as TaskProgress) : null,
          seconds: secondsBetween(job.processedOn, job.finishedOn),
        });
  }
  return [...listed.values()];
}

async function list(
  queues: Queues,
  records: { write(record: object): void },
  terminal: Terminal,
): Promise<void> {
  const listed = await all(queues);
  for (const { state, task, progress, reason, seconds } of listed)
    records.write({ type: "task", ...task, state, progress, ...(reason !== "" && { reason }), seconds });
  const counts = new Map<string, number>();
  for (const { state } of listed) counts.set(state, (counts.get(state) ?? 0) + 1);
  terminal.result(
    listed.length === 0
      ? "no tasks\n"
      : `${[...counts].map(([state, n]) => `${count(n)} ${state}`).join(", ")}\n`,
  );
  const shown = listed.filter(({ state }) => state !== "waiting" && state !== "done");
  if (shown.length === 0) return;
  const rows = shown.map(({ state, task, progress, reason, seconds }) => [
    ...[task.key.slice(0, 12), state, task.text.name, task.model.name],
    progress ? `${progress.chunks} chunks, ${count(progress.tokens)} tokens` : "",
    state === "active" ? `${Math.round(seconds)} s` : reason,
    ...(state === "active" && progress ? [progress.worker] : []),
  ]);
  terminal.result(`\n${table(rows)}`);
}

/** Those of the tasks that are named by the first characters of their keys, or by a word for all. */
function named(listed: readonly Listed[], key: string, word: string): readonly Listed[] {
  const found = key === word ? listed : listed.filter(({ task }) => task.key.startsWith(key));
  if (key !== word && found.length !== 1)
    throw new BadInputError(
      `${key}: ${found.length === 0 ? "no such task" : `${found.length} tasks have such a key`}`,
    );
  return found;
}

async function retry(queues: Queues, key: string, terminal: Terminal): Promise<void> {
  const found = named(await all(queues, ["failed"]), key, "failed");
  for (const { queue, task } of found) {
    await queues.server.uncancel(task.key);
    await (await queue.getJob(task.key))?.retry("failed", { resetAttemptsMade: true });
  }
  terminal.result(`${found.length} tasks are in the queue again\n`);
}

async function cancel(queues: Queues, key: string, terminal: Terminal): Promise<void> {
  const found = named(await all(queues, ["wait", "active", "delayed"]), key, "all");
  let removed = 0;
  for (const { queue, task } of found) {
    await queues.server.cancel(task.key); // before it is looked at: a worker may take it now
    const job = await queue.getJob(task.key);
    if (!job || (await job.getState()) === "active") continue;
    await job.remove().then(
      () => removed++,
      () => undefined, // active by now
    );
    await queues.server.uncancel(task.key);
  }
  const stopping = found.length - removed;
  terminal.result(`${removed} tasks taken out of the queue${stopping > 0 ? `, ${stopping} will stop where they run` : ""}\n`); // prettier-ignore
}
