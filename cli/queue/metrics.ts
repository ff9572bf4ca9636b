/** What a worker does, for Prometheus: `--metrics PORT` serves it at /metrics. */
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { needed } from "./packages.ts";
import type { TaskProgress } from "./queues.ts";

export interface WorkerMetrics extends Disposable {
  readonly port: number;
  /** A task's end. */
  count(ending: "made" | "there" | "failed"): void;
  progress(key: string, progress: TaskProgress): void;
  ended(seconds: number): void;
}

export async function serveMetrics(port: number): Promise<WorkerMetrics> {
  const { Counter, Gauge, Registry, collectDefaultMetrics } = await needed(
    ["prom-client"],
    () => import("prom-client"),
  );
  const registry = new Registry();
  const registers = [registry];
  collectDefaultMetrics({ register: registry });
  const tasks = new Counter({
    ...{ name: "templora_tasks_total", help: "tasks ended: result made here, there already, or failed" },
    ...{ labelNames: ["ending"], registers },
  });
  const chunks = new Counter({ name: "templora_chunks_total", help: "chunks read", registers });
  const tokens = new Counter({ name: "templora_tokens_total", help: "tokens scored", registers });
  const busy = new Counter({ name: "templora_busy_seconds_total", help: "time spent on tasks", registers });
  const working = new Gauge({ name: "templora_working", help: "1 while a task is in progress", registers });
  let last: { key: string; chunks: number; tokens: number } | null = null;
  const server = createServer((request, response) => {
    if (request.url !== "/metrics") return void response.writeHead(404).end();
    registry.metrics().then(
      (text) => response.writeHead(200, { "content-type": registry.contentType }).end(text),
      () => response.writeHead(500).end(),
    );
  });
  await new Promise<void>((resolve, reject) => {
    server.once("error", (error: NodeJS.ErrnoException) =>
      reject(new Error(`--metrics ${port}: cannot be listened on (${error.code ?? error.message})`)),
    );
    server.listen(port, resolve);
  });
  return {
    port: (server.address() as AddressInfo).port,
    count: (ending) => tasks.inc({ ending }),
    progress: (key, { chunks: read, tokens: scored, resumed }) => {
      working.set(1);
      // what a checkpoint had is told again at first, all at once: it is not counted
      const before =
        last?.key === key ? last : resumed ? { chunks: read, tokens: scored } : { chunks: 0, tokens: 0 };
      chunks.inc(Math.max(0, read - before.chunks));
      tokens.inc(Math.max(0, scored - before.tokens));
      last = { key, chunks: read, tokens: scored };
    },
    ended: (seconds) => {
      busy.inc(seconds);
      working.set(0);
      last = null;
    },
    [Symbol.dispose]: () => void server.close(),
  };
}
