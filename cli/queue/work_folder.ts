/** A folder of this machine for one task: its text, and its state until that is in the store. A worker that is killed leaves its own. */
import { rmSync } from "node:fs";
import { mkdtemp, readdir, rm, stat } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { isAlive } from "../parts.ts";

const PREFIX = "templora-task-";
/** A folder in which nothing was written for so long, by a process that has ended, is nobody's. Either alone may deceive: clocks jump, and containers number their processes anew. */
const ABANDONED_MS = 24 * 3_600_000;

export class WorkFolder implements AsyncDisposable {
  readonly path: string;
  /** The process may be told to end at once. */
  readonly #atExit = (): void => rmSync(this.path, { recursive: true, force: true });

  private constructor(path: string) {
    this.path = path;
    process.on("exit", this.#atExit);
  }

  static async make(): Promise<WorkFolder> {
    await sweep().catch(() => undefined); // another's folder may be another user's, or vanish
    return new WorkFolder(await mkdtemp(join(tmpdir(), `${PREFIX}${process.pid}-`)));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    process.off("exit", this.#atExit);
    await rm(this.path, { recursive: true, force: true });
  }
}

async function sweep(): Promise<void> {
  for (const name of await readdir(tmpdir())) {
    if (!name.startsWith(PREFIX)) continue;
    const path = join(tmpdir(), name);
    const [pid] = name.slice(PREFIX.length).split("-");
    if (!isAlive(Number(pid)) && Date.now() - (await stat(path)).mtimeMs > ABANDONED_MS)
      await rm(path, { recursive: true, force: true });
  }
}
