/**
 * The queues on a Redis or Valkey server, by BullMQ. There is one for each model and size of memory (the next power of two, in GiB), so
 * that a worker listens only where its machine can do the work. Which there are stands in one hash of the server's.
 */
import type * as BullMQ from "bullmq";
import type { Redis } from "ioredis";
import { BadInputError } from "../../engine/errors.ts";
import { needed } from "./packages.ts";
import type { Ending, Progress } from "./run_task.ts";
import type { Task } from "./tasks.ts";

export interface QueueFacts {
  readonly name: string;
  /** Memory that its tasks take at most. */
  readonly gib: number;
  readonly model: Task["model"];
}

export type TaskQueue = BullMQ.Queue<Task, Ending, "task">;
export type TaskProgress = Progress & { readonly worker: string };

const REGISTRY = "templora:queues";
/** Tasks that are to be stopped where they run. */
const CANCELLED = "templora:cancelled";
const CONNECT_MS = 5000;

/** The queue that a task belongs to. */
export function queueOf({ needs, model }: Task): QueueFacts {
  const gib = 2 ** Math.max(0, Math.ceil(Math.log2(needs / 2 ** 30)));
  return { name: `templora-${gib}gib-${model.identity.slice(0, 12)}`, gib, model };
}

export class Queues implements AsyncDisposable {
  readonly bullmq: typeof BullMQ;
  readonly redis: Redis;
  readonly #queues = new Map<string, TaskQueue>();

  private constructor(bullmq: typeof BullMQ, redis: Redis) {
    this.bullmq = bullmq;
    this.redis = redis;
  }

  /** Throws where no server answers; later on, what is asked of it waits until it is there again. */
  static async open(url: string): Promise<Queues> {
    const { protocol, host } = parsed(url);
    const server = url.replace(/^valkey/, "redis");
    const [bullmq, { Redis }] = await needed(["bullmq", "ioredis"], () =>
      Promise.all([import("bullmq"), import("ioredis")]),
    );
    let connected = false;
    const redis = new Redis(server, {
      lazyConnect: true,
      connectTimeout: CONNECT_MS,
      maxRetriesPerRequest: null,
      retryStrategy: (times) => (connected ? Math.min(50 * times, 1000) : null),
    });
    let [why, failed] = ["", false];
    redis.on("error", (error: NodeJS.ErrnoException) => (why = error.code ?? error.message));
    await redis.connect().catch((error: unknown) => {
      failed = true;
      why ||= (error as Error).message;
    });
    if (failed) throw new Error(`--queue ${protocol}//${host}: no server answers there (${why})`);
    connected = true;
    return new Queues(bullmq, redis);
  }

  /** All that tasks were ever submitted to. */
  async known(): Promise<QueueFacts[]> {
    const all = Object.values(await this.redis.hgetall(REGISTRY)).map(
      (text) => JSON.parse(text) as QueueFacts,
    );
    return all.sort((a, b) => b.gib - a.gib || (a.name < b.name ? -1 : 1));
  }

  of({ name }: QueueFacts): TaskQueue {
    let queue = this.#queues.get(name);
    if (!queue) {
      queue = new this.bullmq.Queue<Task, Ending, "task">(name, { connection: this.redis });
      queue.on("error", () => undefined); // the connection comes back by itself
      this.#queues.set(name, queue);
    }
    return queue;
  }

  /** Makes a queue known to workers. */
  async register(facts: QueueFacts): Promise<TaskQueue> {
    await this.redis.hset(REGISTRY, facts.name, JSON.stringify(facts));
    return this.of(facts);
  }

  async cancel(key: string): Promise<void> {
    await this.redis.sadd(CANCELLED, key);
  }

  async uncancel(key: string): Promise<void> {
    await this.redis.srem(CANCELLED, key);
  }

  async isCancelled(key: string): Promise<boolean> {
    return (await this.redis.sismember(CANCELLED, key)) === 1;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const queue of this.#queues.values()) await queue.close();
    this.redis.disconnect();
  }
}

function parsed(url: string): URL {
  const known = ["redis:", "rediss:", "valkey:"];
  try {
    const found = new URL(url);
    if (known.includes(found.protocol)) return found;
  } catch {
    // no URL at all
  }
  throw new BadInputError(`--queue ${url}: expected redis://HOST:PORT, or rediss:// with TLS`);
}
