/** What test/run.ts runs in a process per test file: uvu's own runner, which starts only when the whole file is loaded. */
import { basename, resolve } from "node:path";
import { run } from "uvu/run";

const [, , file = ""] = process.argv;
await run([{ name: basename(file), file: resolve(file) }]);
