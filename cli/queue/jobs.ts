/** `templora jobs`: how far the tasks of a queue are, what failed, and the results. */
import { BadInputError } from "../../engine/errors.ts";
import { keeping, openRecords } from "../files.ts";
import { count, counted } from "../format.ts";
import { type CommonOptions, type Define, addOutputOptions } from "../options.ts";
import type { Io, Terminal } from "../output.ts";
import { numeric } from "../parsers.ts";
import { openTerminal } from "../session.ts";
import { type PlaceOptions, addPlaceOptions, given } from "./options.ts";
import { inQueue } from "./queue_server.ts";
import { Queues } from "./queues.ts";
import { readResults, resultsTable } from "./results.ts";
import { openStore } from "./open_store.ts";
import { listTasks, named, tasksTable } from "./task_list.ts";

interface JobsOptions extends PlaceOptions, Pick<CommonOptions, "json" | "quiet"> {
  readonly results?: true;
  readonly retry?: string;
  readonly cancel?: string;
  readonly serve?: number;
}

export const jobs: Define = (command, io) => {
  addPlaceOptions(
    command.description(
      "Shows the tasks of a queue: those in progress with how far they are, those that failed with the reason, and those that wait. A task is " +
        "named by its key or the first characters of it, which stand at the left.",
    ),
  )
    .optionsGroup("Tasks:")
    .option("--results", "the results in --store, as one table")
    .option(
      "--retry <key>",
      "put a failed task back into the queue, or one that was cancelled where it ran; failed: all of them",
    )
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

const actions = ["results", "retry", "cancel", "serve"];

async function run(options: JobsOptions, io: Io): Promise<void> {
  const asked = actions.filter((name) => name in options).map((name) => `--${name}`);
  if (asked.length > 1) throw new BadInputError(`${asked.join(" and ")}: give one of them at a time`);
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

async function list(
  queues: Queues,
  records: { write(record: object): void },
  terminal: Terminal,
): Promise<void> {
  const listed = await listTasks(queues);
  for (const { state, task, progress, reason, seconds } of listed)
    records.write({ type: "task", ...task, state, progress, ...(reason !== "" && { reason }), seconds });
  terminal.result(tasksTable(listed));
}

async function retry(queues: Queues, key: string, terminal: Terminal): Promise<void> {
  const found = named(await listTasks(queues), "--retry", key, "failed", ["failed"]);
  for (const { queue, task } of found) {
    await queues.server.uncancel(inQueue(queue, task.key));
    await (await queue.getJob(task.key))?.retry("failed", { resetAttemptsMade: true });
  }
  terminal.result(
    `${counted(found.length, "task")} ${found.length === 1 ? "is" : "are"} in the queue again\n`,
  );
}

async function cancel(queues: Queues, key: string, terminal: Terminal): Promise<void> {
  const found = named(await listTasks(queues), "--cancel", key, "all", ["waiting", "active", "delayed"]);
  let removed = 0;
  for (const { queue, task } of found) {
    const name = inQueue(queue, task.key);
    await queues.server.cancel(name); // before it is looked at: a worker may take it now
    const job = await queue.getJob(task.key);
    if (!job || (await job.getState()) === "active") continue;
    await job.remove().then(
      () => removed++,
      () => undefined, // active by now
    );
    await queues.server.uncancel(name);
  }
  const stopping = found.length - removed;
  const stop = stopping === 1 ? "1 will stop where it runs" : `${count(stopping)} will stop where they run`;
  terminal.result(`${counted(removed, "task")} taken out of the queue${stopping > 0 ? `, ${stop}` : ""}\n`);
}
