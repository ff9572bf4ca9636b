/** A folder of this machine for one task: its text, and its state until that is in the store. A worker that is killed leaves its own: the next one on this host removes it. */
import { rmSync } from "node:fs";
import { mkdtemp, readdir, rm, stat } from "node:fs/promises";
import { hostname, tmpdir } from "node:os";
import { join } from "node:path";
import { isAlive } from "../parts.ts";

const PREFIX = "templora-task-";
const NAME = new RegExp(`^${PREFIX}(.+)-(\\d+)-\\w+$`);
/** Another host's folder (a container's: those number their processes anew) is nobody's once nothing was written there for so long. */
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
    await sweep();
    return new WorkFolder(await mkdtemp(join(tmpdir(), `${PREFIX}${hostname()}-${process.pid}-`)));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    process.off("exit", this.#atExit);
    await rm(this.path, { recursive: true, force: true });
  }
}

/** Removes the folders of processes that have ended. */
export async function sweep(): Promise<void> {
  for (const name of await readdir(tmpdir()).catch(() => [])) {
    const [, host, pid] = NAME.exec(name) ?? [];
    if (host === undefined || isAlive(Number(pid))) continue;
    const path = join(tmpdir(), name);
    try {
      if (host === hostname() || Date.now() - (await stat(path)).mtimeMs > ABANDONED_MS)
        await rm(path, { recursive: true, force: true });
    } catch {
      // it may be another user's, or vanish
    }
  }
}
