/** Files that model data comes from: opened once, read at offsets, every failure one clear line. */
import { type FileHandle, open, stat } from "../engine/backends/host/files.ts";
import { BadInputError } from "../engine/errors.ts";

/** What the operating system said about `path`, in words. */
export function fileError(path: string, error: unknown): BadInputError {
  const code = error instanceof Error && "code" in error ? String(error.code) : String(error);
  const words: Record<string, string> = {
    ENOENT: "no such file; check the path",
    ENOTDIR: "no such file; a part of the path is not a folder",
    EISDIR: "this is a folder; a file is expected",
    EACCES: "no permission to read it",
    EPERM: "no permission to read it",
  };
  return new BadInputError(`${path}: ${words[code] ?? `cannot be read (${code})`}`);
}

/** Whether there is a file (or folder) at `path`; an unreadable place is an error. */
export async function whatIs(path: string): Promise<"file" | "folder" | "nothing"> {
  try {
    const entry = await stat(path);
    if (entry.isDirectory()) return "folder";
    if (entry.isFile()) return "file";
  } catch (error) {
    if (error instanceof Error && "code" in error && (error.code === "ENOENT" || error.code === "ENOTDIR"))
      return "nothing";
    throw fileError(path, error);
  }
  throw new BadInputError(`${path}: neither a file nor a folder`);
}

/** A file open for reads at any offset. */
export class InputFile {
  readonly path: string;
  readonly size: number;
  #handle: FileHandle | undefined;

  private constructor(path: string, size: number, handle: FileHandle) {
    this.path = path;
    this.size = size;
    this.#handle = handle;
  }

  static async open(path: string): Promise<InputFile> {
    let handle: FileHandle | undefined;
    try {
      handle = await open(path, "r");
      const entry = await handle.stat();
      if (!entry.isFile()) throw new BadInputError(`${path}: not a regular file`);
      return new InputFile(path, entry.size, handle);
    } catch (error) {
      await handle?.close();
      throw error instanceof BadInputError ? error : fileError(path, error);
    }
  }

  /** Exactly `length` bytes from `start`. */
  async read(start: number, length: number): Promise<Uint8Array<ArrayBuffer>> {
    if (!this.#handle) throw new BadInputError(`${this.path}: read after it was closed`);
    if (start < 0 || length < 0 || start + length > this.size)
      throw new BadInputError(
        `${this.path}: bytes ${start} to ${start + length} are past its end at ${this.size}`,
      );
    const bytes = new Uint8Array(length);
    const most = 2 ** 30; // one read call takes less than 2 GiB
    for (let done = 0; done < length;) {
      const { bytesRead } = await this.#handle.read(bytes, done, Math.min(most, length - done), start + done);
      if (bytesRead === 0) throw new BadInputError(`${this.path}: it became shorter while it was read`);
      done += bytesRead;
    }
    return bytes;
  }

  async close(): Promise<void> {
    const handle = this.#handle;
    this.#handle = undefined;
    await handle?.close();
  }
}
