/** A Redis or Valkey server. The queues that there are stand in one hash, the keys of cancelled tasks in one set. */
import type * as BullMQ from "bullmq";
import type { Redis } from "ioredis";
import { BadInputError } from "../../engine/errors.ts";
import { needed } from "./packages.ts";
import { CONNECT_MS, type QueueFacts, type QueueServer, RefusedError } from "./queue_server.ts";

const REGISTRY = "templora:queues";
const CANCELLED = "templora:cancelled";

export class RedisServer implements QueueServer {
  readonly connection: Redis;
  readonly backend: typeof BullMQ.createRedisBackend;
  /** The server ends locks by its own clock. */
  readonly clockOff = 0;

  private constructor(bullmq: typeof BullMQ, redis: Redis) {
    this.connection = redis;
    this.backend = bullmq.createRedisBackend;
  }

  /** Throws why no server answers. */
  static async open(url: URL): Promise<RedisServer> {
    const [bullmq, { Redis }] = await needed(["bullmq", "ioredis"], () =>
      Promise.all([import("bullmq"), import("ioredis")]),
    );
    const [, database = ""] = /^\/?(\d{0,9})$/.exec(url.pathname) ?? [];
    if (database === "" && !["", "/"].includes(url.pathname))
      throw new BadInputError(
        `--queue ${url.protocol}//${url.host}${url.pathname}: expected the number of a database after the slash`,
      );
    let connected = false;
    const redis = new Redis(url.href.replace(/^valkey/, "redis"), {
      lazyConnect: true,
      connectTimeout: CONNECT_MS,
      maxRetriesPerRequest: null,
      retryStrategy: (times) => (connected ? Math.min(50 * times, 1000) : null),
    });
    let why: Error | undefined;
    redis.on("error", (error: Error) => (why = error));
    try {
      await redis.connect();
      if (database !== "") await redis.select(database); // else it may be database 0
    } catch (error) {
      redis.disconnect();
      const first = why ?? (error as Error);
      throw first.name === "ReplyError" ? new RefusedError(first.message) : first;
    }
    connected = true;
    return new RedisServer(bullmq, redis);
  }

  async known(): Promise<QueueFacts[]> {
    return Object.values(await this.connection.hgetall(REGISTRY)).map(
      (text) => JSON.parse(text) as QueueFacts,
    );
  }

  async register(facts: QueueFacts): Promise<void> {
    await this.connection.hset(REGISTRY, facts.name, JSON.stringify(facts));
  }

  async cancel(key: string): Promise<void> {
    await this.connection.sadd(CANCELLED, key);
  }

  async uncancel(key: string): Promise<void> {
    await this.connection.srem(CANCELLED, key);
  }

  async isCancelled(key: string): Promise<boolean> {
    return (await this.connection.sismember(CANCELLED, key)) === 1;
  }

  [Symbol.asyncDispose](): Promise<void> {
    this.connection.disconnect();
    return Promise.resolve();
  }
}
