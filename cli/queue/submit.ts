/** `templora submit`: puts a job's texts into the store and its tasks into the queue, each once. */
import { type CommonOptions, type Define, addOutputOptions } from "../options.ts";
import { keeping, openRecords } from "../files.ts";
import { counted } from "../format.ts";
import type { Io } from "../output.ts";
import { openTerminal, throwIfStopped } from "../session.ts";
import { readJobFile } from "./job_file.ts";
import { getResult, putText } from "./ledger.ts";
import { type PlaceOptions, addPlaceOptions, given } from "./options.ts";
import { Queues, queueOf } from "./queues.ts";
import { makeStore } from "./open_store.ts";
import { inQueue } from "./queue_server.ts";
import { tasksOf } from "./tasks.ts";

type SubmitOptions = PlaceOptions & Pick<CommonOptions, "json" | "quiet">;

export const submit: Define = (command, io) => {
  command
    .description(
      "Puts tasks into a queue that workers on any number of machines take them from: every text of a job, read by each of its models in " +
        "each of its ways. A task that is done, or in the queue, is not put there again. Tasks of the same text bytes, model, recipe and version are the same.",
    )
    .argument(
      "<job.json>",
      '{"texts": ["books"], "models": ["smollm2-135m"], "recipes": [{"recipe": "tuned"}, {"recipe": "paper", "lr": 1e-4}], "options": {"max-tokens": 8192}}: ' +
        "files and folders beside it, models as --model takes them, flags of templora ppl",
    );
  addOutputOptions(addPlaceOptions(command))
    .addHelpText(
      "after",
      "\nExample:\n  templora submit job.json --queue redis://head:6379 --store /shared/books\n",
    )
    .action((path: string, options: SubmitOptions) => run(path, options, io));
};

/** Tries of a task whose worker fails; one that is killed does not count. */
const ATTEMPTS = 3;
const BACKOFF_MS = 5000;

async function run(path: string, options: SubmitOptions, io: Io): Promise<void> {
  const [server, place] = [given(options.queue, "--queue"), given(options.store, "--store")];
  const job = await readJobFile(path, io);
  using terminal = openTerminal(options, io);
  using records = await openRecords(options.json, io, terminal);
  await using queues = await Queues.open(server);
  const store = await makeStore(place);
  const counts = { submitted: 0, queued: 0, done: 0, failed: 0, same: 0 };
  await keeping([records.file], terminal, async () => {
    for await (const { task, bytes } of tasksOf(job, terminal, io, () => counts.same++)) {
      throwIfStopped(io);
      const queue = await queues.register(queueOf(task, store));
      let became: keyof typeof counts = "submitted";
      if ((await getResult(store, task.key)) !== null) became = "done";
      else {
        const earlier = await queue.getJob(task.key);
        const state = await earlier?.getState();
        if (state === "failed") became = "failed";
        else if (earlier && state !== "completed" && state !== "unknown") became = "queued";
        else {
          if (earlier) await earlier.remove(); // completed, but its result is not in this store
          await putText(store, bytes);
          await queues.server.uncancel(inQueue(queue, task.key)); // of a task that was done before it heard of it
          await queue.add("task", task, {
            ...{ jobId: task.key, attempts: ATTEMPTS },
            backoff: { type: "exponential", delay: BACKOFF_MS },
          });
        }
      }
      counts[became]++;
      records.write({ type: "task", ...task, status: became });
    }
    records.write({ type: "summary", ...counts });
  });
  const { submitted, queued, done, failed, same } = counts;
  terminal.result(
    `${counted(submitted, "task")} submitted` +
      (queued > 0 ? `, ${queued} in the queue already` : "") +
      (done > 0 ? `, ${done} done already` : "") +
      (failed > 0 ? `, ${failed} failed before (templora jobs --retry failed)` : "") +
      (same > 0 ? `, ${same} the same as others of this job` : "") +
      "\n",
  );
}
