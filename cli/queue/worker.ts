/** `templora worker`: works on tasks of a queue, or on its share of a job file without one. */
import { Option } from "commander";
import { BadInputError } from "../../engine/errors.ts";
import { InterruptedError } from "../errors.ts";
import { deviceChoices } from "../../engine/backends/open.ts";
import { type CommonOptions, type Define, addQuietOption } from "../options.ts";
import type { Io } from "../output.ts";
import { choice, numeric } from "../parsers.ts";
import { openTerminal, throwIfStopped } from "../session.ts";
import { serveMetrics } from "./metrics.ts";
import { type PlaceOptions, addPlaceOptions, given } from "./options.ts";
import { QueueWorker } from "./queue_worker.ts";
import { Queues } from "./queues.ts";
import { type Shard, readShard, shard } from "./shard.ts";
import { makeStore, openStore } from "./open_store.ts";
import { sweep } from "./work_folder.ts";

interface WorkerOptions extends PlaceOptions, Pick<CommonOptions, "device" | "threads" | "quiet"> {
  readonly shard?: Shard;
  readonly memory?: number;
  readonly checkpointEvery: number;
  readonly lock: number;
  readonly untilEmpty?: true;
  readonly metrics?: number;
}

export const worker: Define = (command, io) => {
  addPlaceOptions(
    command
      .description(
        "Takes tasks from a queue, as templora submit puts them there, and reads them as templora ppl does; any number of workers on any " +
          "number of machines. A worker that dies is replaced: another goes on from its last checkpoint. Ctrl-C and SIGTERM stop after the " +
          "step in progress, and the task goes back. Without a queue, as one of an array of jobs: --shard and the job file.",
      )
      .argument("[job.json]", "with --shard: the job file, as templora submit takes it"),
  )
    .addOption(
      new Option(
        "--shard <i/n>",
        "without a queue: of the job's tasks every n-th, from the i-th on, i from 0 to n-1",
      ).argParser(shard),
    )
    .optionsGroup("Machine:")
    .addOption(
      new Option("--device <device>", "auto, cpu or webgpu; results tell on what they were computed")
        .argParser(choice("--device", deviceChoices))
        .default("auto", "auto"),
    )
    .addOption(
      numeric("--threads <n>", "CPU threads (default: all cores)", { integer: true, min: 1, max: 256 }),
    )
    .addOption(
      numeric("--memory <gib>", "take only tasks that need at most this much (default: what is free now)", {
        above: 0,
      }),
    )
    .addOption(
      numeric("--checkpoint-every <seconds>", "between two checkpoints of a text in the store", {
        min: 0,
      }).default(60),
    )
    .addOption(
      numeric(
        "--lock <seconds>",
        "a worker that was not heard of for so long is taken to be dead; the same for all workers",
        { min: 1 },
      ).default(30),
    )
    .option("--until-empty", "end when nothing is left in the queue")
    .addOption(
      numeric("--metrics <port>", "serve figures for Prometheus at /metrics", {
        integer: true,
        min: 0,
        max: 65_535,
      }),
    );
  addQuietOption(command.optionsGroup("Output:"))
    .addHelpText(
      "after",
      "\nExamples:\n  templora worker --queue redis://head:6379 --store /shared/books\n" +
        "  templora worker job.json --shard $SLURM_ARRAY_TASK_ID/8 --store s3://bucket/books\n",
    )
    .action((path: string | undefined, options: WorkerOptions) => run(path, options, io));
};

async function run(path: string | undefined, options: WorkerOptions, io: Io): Promise<void> {
  const place = given(options.store, "--store");
  const { shard: part, device, threads, checkpointEvery, lock } = options;
  const setting = { device, ...(threads !== undefined && { threads }), checkpointMs: 1000 * checkpointEvery };
  using terminal = openTerminal(options, io);
  if (part) {
    if (options.queue !== undefined)
      throw new BadInputError(
        "--shard: the tasks of a queue are shared out by it; leave --queue or --shard out",
      );
    await readShard(given(path, "JOB.json"), part, await makeStore(place), setting, terminal, io);
    return;
  }
  if (path !== undefined)
    throw new BadInputError(`${path}: tasks come from the queue; a job file is read with --shard`);
  const server = given(options.queue, "--queue");
  const { id } = await openStore(place);
  await makeStore(place); // it is there: that it can be written is found now, and not by a task
  await sweep();
  await using queues = await Queues.open(server);
  const off = queues.server.clockOff / 1000;
  if (off > lock / 4)
    throw new Error(
      `--lock ${lock}: this machine's clock is ${off.toFixed(1)} s from that of the queue's server; more than a quarter of the lock's time may make ` +
        "workers think each other dead",
    );
  using metrics = options.metrics === undefined ? null : await serveMetrics(options.metrics);
  if (metrics) terminal.note(`figures at http://localhost:${metrics.port}/metrics`);
  const memory = options.memory === undefined ? process.availableMemory() : options.memory * 2 ** 30;
  const all = {
    ...setting,
    store: { name: place, id },
    memory,
    lockMs: 1000 * lock,
    untilEmpty: options.untilEmpty === true,
  };
  let gaveBack = false;
  {
    await using working = new QueueWorker(queues, all, io, terminal, metrics);
    terminal.note("waiting for tasks");
    await working.run();
    ({ gaveBack } = working);
  }
  try {
    throwIfStopped(io);
  } catch (error) {
    if (!(error instanceof InterruptedError)) throw error;
    terminal.note(gaveBack ? "stopped; its task is back in the queue" : "stopped");
    throw error;
  }
}
