/**
 * The queues on a server, by BullMQ. There is one for each store, model and size of memory (the next power of two, in GiB), so that a
 * worker listens only where its machine can do the work and has the texts.
 */
import type * as BullMQ from "bullmq";
import { BadInputError } from "../../engine/errors.ts";
import { type QueueFacts, type QueueServer, RefusedError } from "./queue_server.ts";
import type { Ending, Progress } from "./run_task.ts";
import type { OpenStore } from "./store.ts";
import type { Task } from "./tasks.ts";

export type TaskQueue = BullMQ.Queue<Task, Ending, "task">;
export type TaskProgress = Progress & { readonly worker: string };

/** The queue that a task of a store belongs to. */
export function queueOf({ needs, model }: Task, { id }: Pick<OpenStore, "id">): QueueFacts {
  const gib = 2 ** Math.max(0, Math.ceil(Math.log2(needs / 2 ** 30)));
  const name = `templora-${gib}gib-${model.identity.slice(0, 12)}`;
  return id === "" ? { name, gib, model } : { name: `${name}-${id}`, gib, model, store: id };
}

export class Queues implements AsyncDisposable {
  readonly bullmq: typeof BullMQ;
  readonly server: QueueServer;
  readonly #queues = new Map<string, TaskQueue>();

  private constructor(bullmq: typeof BullMQ, server: QueueServer) {
    this.bullmq = bullmq;
    this.server = server;
  }

  /** Throws where no server answers; later on, what is asked of it waits until it is there again. */
  static async open(text: string): Promise<Queues> {
    const [url, open] = parsed(text);
    try {
      const server = await open(url);
      return new Queues(await import("bullmq"), server);
    } catch (error) {
      if (error instanceof BadInputError) throw error;
      const { code, message } = error as NodeJS.ErrnoException;
      const why = error instanceof RefusedError ? message : `no server answers there (${code ?? message})`;
      throw new Error(`--queue ${url.protocol}//${url.host}: ${why}`);
    }
  }

  /** All that tasks were ever submitted to, the largest first. */
  async known(): Promise<QueueFacts[]> {
    return (await this.server.known()).sort((a, b) => b.gib - a.gib || (a.name < b.name ? -1 : 1));
  }

  of({ name }: QueueFacts): TaskQueue {
    const known = this.#queues.get(name);
    if (known) return known;
    const { connection, backend } = this.server;
    const queue = new this.bullmq.Queue<Task, Ending, "task">(name, { connection }, backend);
    queue.on("error", () => undefined); // the connection comes back by itself
    queue.waitUntilReady().catch(() => this.#queues.delete(name)); // on PostgreSQL it would fail for ever
    this.#queues.set(name, queue);
    return queue;
  }

  /** Makes a queue known to workers. */
  async register(facts: QueueFacts): Promise<TaskQueue> {
    await this.server.register(facts);
    return this.of(facts);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const queue of this.#queues.values()) await queue.close();
    await this.server[Symbol.asyncDispose]();
  }
}

const redis = async (url: URL): Promise<QueueServer> =>
  (await import("./redis_server.ts")).RedisServer.open(url);
const postgres = async (url: URL): Promise<QueueServer> =>
  (await import("./postgres_server.ts")).PostgresServer.open(url);

/** What opens the server of an address, by its protocol. */
const servers = new Map([
  ["redis:", redis],
  ["rediss:", redis],
  ["valkey:", redis],
  ["postgres:", postgres],
  ["postgresql:", postgres],
]);

function parsed(text: string): [url: URL, open: (url: URL) => Promise<QueueServer>] {
  const url = URL.canParse(text) ? new URL(text) : null;
  const open = servers.get(url?.protocol ?? "");
  if (url && open) return [url, open];
  const shown = text.replace(/\/\/.*@/s, "//…@"); // there may be a password
  throw new BadInputError(
    `--queue ${shown}: expected redis://HOST:PORT (rediss:// with TLS) or postgres://USER:PASSWORD@HOST:PORT/DATABASE`,
  );
}
