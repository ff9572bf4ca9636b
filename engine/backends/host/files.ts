/** Files of this machine that appear whole or not at all. */
import { type FileHandle, open, rename, rm } from "node:fs/promises";

/**
 * Replaces `path` by what `fill` writes: into a temporary file beside it, which is synced and renamed. When any of this
 * fails, the temporary file is removed and the old file stays. `file.writeFile` appends all of its data; `file.write` may stop short.
 */
export async function writeWhole(path: string, fill: (file: FileHandle) => Promise<void>): Promise<void> {
  const temporary = `${path}.${process.pid}.tmp`;
  try {
    const file = await open(temporary, "w");
    try {
      await fill(file);
      await file.sync();
    } finally {
      await file.close();
    }
    await rename(temporary, path);
  } catch (error) {
    await rm(temporary, { force: true });
    throw error;
  }
}
