/** `templora jobs --serve PORT`: bull-board's page of the queues, and their figures for Prometheus. */
import { type RequestListener, createServer } from "node:http";
import type { AddressInfo } from "node:net";
import type { Io, Terminal } from "../output.ts";
import { needed } from "./packages.ts";
import type { Queues, TaskQueue } from "./queues.ts";

const packages = ["@bull-board/api", "@bull-board/express"];
/** Between two looks for new queues. */
const LOOK_MS = 5000;

/** Until the signal. */
export async function serveBoard(queues: Queues, port: number, terminal: Terminal, io: Io): Promise<void> {
  const [{ createBullBoard }, { BullMQAdapter }, { ExpressAdapter }] = await needed(packages, () =>
    Promise.all([
      import("@bull-board/api"),
      import("@bull-board/api/bullMQAdapter"),
      import("@bull-board/express"),
    ]),
  );
  const serverAdapter = new ExpressAdapter();
  const board = createBullBoard({ queues: [], serverAdapter });
  const shown = new Map<string, TaskQueue>();
  const look = async (): Promise<void> => {
    for (const facts of await queues.known()) {
      if (shown.has(facts.name)) continue;
      const queue = queues.of(facts);
      await queue.waitUntilReady();
      shown.set(facts.name, queue);
      board.addQueue(new BullMQAdapter(queue, { readOnlyMode: false }));
    }
  };
  await look();
  const timer = setInterval(() => void look().catch(() => undefined), LOOK_MS);
  const page = serverAdapter.getRouter() as RequestListener;
  const figures = async (): Promise<string> =>
    (await Promise.all([...shown.values()].map((queue) => queue.exportPrometheusMetrics()))).join("\n");
  const server = createServer((request, response) => {
    if (request.url !== "/metrics") return page(request, response);
    figures().then(
      (text) => response.writeHead(200, { "content-type": "text/plain; version=0.0.4" }).end(text),
      () => response.writeHead(500).end(),
    );
  });
  try {
    await new Promise<void>((resolve, reject) => {
      server.listen(port, "localhost", () => {
        terminal.result(
          `the queue is shown at http://localhost:${(server.address() as AddressInfo).port}/\n`,
        );
      });
      server.once("error", (error: NodeJS.ErrnoException) =>
        reject(new Error(`--serve ${port}: cannot be listened on (${error.code ?? error.message})`)),
      );
      io.signal.addEventListener("abort", () => {
        server.closeAllConnections();
        server.close(() => resolve());
      });
    });
  } finally {
    clearInterval(timer);
  }
}
