/** A PostgreSQL server. BullMQ's tables are in the schema "bullmq", those of this file in "templora"; whoever connects first makes them. */
import { setTimeout } from "node:timers/promises";
import type * as BullMQ from "bullmq";
import type * as Pg from "pg";
import { needed } from "./packages.ts";
import { CONNECT_MS, type QueueFacts, type QueueServer, RefusedError } from "./queue_server.ts";

const SCHEMA = `
  CREATE SCHEMA IF NOT EXISTS templora;
  CREATE TABLE IF NOT EXISTS templora.queues (name text PRIMARY KEY, facts json NOT NULL);
  CREATE TABLE IF NOT EXISTS templora.cancelled (key text PRIMARY KEY)`;
/** Connections of a queue or worker at most, beside the one by which BullMQ listens. */
const CONNECTIONS = 4;
/** Between two tries, while the server is not there. */
const AGAIN_MS = 500;

export class PostgresServer implements QueueServer {
  readonly connection: BullMQ.ConnectionOptions;
  readonly backend: typeof BullMQ.createRedisBackend;
  /** Workers tell the server when their locks end, by their own clocks: the server's is what they are all compared with. */
  readonly clockOff: number;
  readonly #pg: typeof Pg;
  readonly #pool: Pg.Pool;

  private constructor(bullmq: typeof BullMQ, pg: typeof Pg, url: string, clockOff: number) {
    const connection = { connectionString: url, max: CONNECTIONS, keepAlive: true };
    this.connection = connection;
    this.backend = bullmq.createPostgresBackend as unknown as typeof BullMQ.createRedisBackend;
    this.clockOff = clockOff;
    this.#pg = pg;
    this.#pool = new pg.Pool(connection);
    this.#pool.on("error", () => undefined); // one that idled has ended; the next call opens another
  }

  /** Throws why no server answers, or what it answers. */
  static async open(url: URL): Promise<PostgresServer> {
    const [bullmq, pg] = await needed(["bullmq", "pg"], () => Promise.all([import("bullmq"), import("pg")]));
    const client = new pg.Client({ connectionString: url.href, connectionTimeoutMillis: CONNECT_MS });
    client.on("error", () => undefined); // the call that it meets tells of it
    try {
      await client.connect();
      await bullmq.runMigrations(client);
      // Until this connection ends: IF NOT EXISTS alone fails where two make the same. A call of its own, since a call may see things as they were when it began.
      await client.query("SELECT pg_advisory_lock(hashtext('templora'))");
      await client.query(SCHEMA);
      return new PostgresServer(bullmq, pg, url.href, await clockOff(client));
    } catch (error) {
      throw error instanceof pg.DatabaseError ? new RefusedError(error.message) : error;
    } finally {
      await client.end().catch(() => undefined);
    }
  }

  async known(): Promise<QueueFacts[]> {
    const rows = await this.#ask<{ facts: QueueFacts }>("SELECT facts FROM templora.queues");
    return rows.map(({ facts }) => facts);
  }

  async register(facts: QueueFacts): Promise<void> {
    await this.#ask(
      "INSERT INTO templora.queues VALUES ($1, $2) ON CONFLICT (name) DO UPDATE SET facts = excluded.facts",
      [facts.name, JSON.stringify(facts)],
    );
  }

  async cancel(key: string): Promise<void> {
    await this.#ask("INSERT INTO templora.cancelled VALUES ($1) ON CONFLICT DO NOTHING", [key]);
  }

  async uncancel(key: string): Promise<void> {
    await this.#ask("DELETE FROM templora.cancelled WHERE key = $1", [key]);
  }

  async isCancelled(key: string): Promise<boolean> {
    return (await this.#ask("SELECT 1 FROM templora.cancelled WHERE key = $1", [key])).length === 1;
  }

  /** Waits until the server is there again, as Redis' client does by itself. A statement may be carried out twice. */
  async #ask<Row extends object>(statement: string, values: readonly string[] = []): Promise<Row[]> {
    for (;;) {
      try {
        return (await this.#pool.query<Row>(statement, [...values])).rows;
      } catch (error) {
        const refused = error instanceof this.#pg.DatabaseError && !/^(08|53|57)/.test(error.code ?? "");
        if (refused || this.#pool.ended) throw error; // 08, 53, 57: of connections, of what is short, of a server that stops or starts
      }
      await setTimeout(AGAIN_MS);
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#pool.end();
  }
}

/** Milliseconds between the server's clock and this machine's, at least: which moment of the question's way it tells is not known. */
async function clockOff(client: Pg.Client): Promise<number> {
  const asked = Date.now();
  const { rows } = await client.query<{ now: number }>(
    "SELECT (1000 * extract(epoch FROM clock_timestamp()))::float8 AS now",
  );
  const { now } = rows[0] ?? { now: asked };
  return Math.max(0, asked - now, now - Date.now());
}
