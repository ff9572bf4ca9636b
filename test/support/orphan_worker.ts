/** A program: a worker for the queue "orphans" on the server that it is told of. */
import { Worker } from "bullmq";

new Worker("orphans", new URL("./orphan.ts", import.meta.url), {
  connection: { url: process.argv[2] ?? "" },
});
