/** What the queue's server has to do for a worker, in its processor's time: BullMQ's own calls as a worker makes them, on a real server. */
import { Queues } from "../../../cli/queue/queues.ts";
import type { RedisServer } from "../../../cli/queue/redis_server.ts";
import { QueueServer } from "../../../test/support/servers.ts";

/** Microseconds of one core of the server's machine. */
export interface QueueCost {
  /** A chunk's progress. */
  readonly progress: number;
  /** The lock of a task in progress, renewed. */
  readonly lock: number;
  /** Whether a task is cancelled. */
  readonly look: number;
  /** A look for work where there is none. */
  readonly poll: number;
  /** A task put there, taken and completed. */
  readonly task: number;
}

const TIMES = 4000;
const AT_ONCE = 32;

export async function queueCost(): Promise<{ readonly us: QueueCost; readonly progressPerSecond: number }> {
  await using server = await QueueServer.start();
  await using queues = await Queues.open(server.url);
  const { connection: redis } = queues.server as RedisServer;
  const facts = { name: "templora-scale", gib: 1, model: { name: "any", identity: "0".repeat(64) } };
  const queue = await queues.register(facts);
  const worker = new queues.bullmq.Worker("templora-scale", undefined, {
    ...{ connection: redis, autorun: false, skipStalledCheck: true },
  });
  await worker.waitUntilReady();

  /** The server's microseconds a call, and calls a second. */
  const cost = async (call: (i: number) => Promise<unknown>): Promise<{ us: number; rate: number }> => {
    const [before, began] = [await busy(), performance.now()];
    for (let i = 0; i < TIMES; i += AT_ONCE)
      await Promise.all(Array.from({ length: AT_ONCE }, (_, j) => call(i + j)));
    const seconds = (performance.now() - began) / 1000;
    return { us: (1e6 * ((await busy()) - before)) / TIMES, rate: TIMES / seconds };
  };
  const busy = async (): Promise<number> => {
    const found = await redis.info("cpu");
    const part = (name: string): number => Number(new RegExp(`${name}:([\\d.]+)`).exec(found)?.[1]);
    return part("used_cpu_user") + part("used_cpu_sys");
  };

  const poll = await cost(async (i) => {
    await queues.known();
    await worker.getNextJob(`t${i}`, { block: false });
  });
  const task = await cost(async (i) => {
    await queue.add("task", { text: "x".repeat(600) } as never, { jobId: `job${i}` });
    const job = await worker.getNextJob(`t${i}`, { block: false });
    await job?.moveToCompleted({ ended: "done", made: true }, `t${i}`, false);
  });
  await queue.add("task", { text: "x".repeat(600) } as never, { jobId: "last" });
  const job = await worker.getNextJob("last", { block: false });
  if (!job) throw new Error("the queue has lost a task");
  const progress = await cost((i) => job.updateProgress({ chunks: i, tokens: i, worker: "here:1" }));
  const lock = await cost(() => job.extendLock("last", 30_000));
  const look = await cost(() => queues.server.isCancelled("0".repeat(64)));
  await worker.close();
  return {
    us: { progress: progress.us, lock: lock.us, look: look.us, poll: poll.us, task: task.us },
    progressPerSecond: progress.rate,
  };
}
