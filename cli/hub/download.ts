/**
 * Downloads a file of the hub into a blob of its cache, in place of @huggingface/hub's downloadFileToCacheDir, which begins anew
 * after every cut, checks no sum, shows no progress, and speaks on stdout.
 *
 * The bytes grow in BLOB.incomplete, which an interruption leaves for the next run. The file gets its name once it is on the disk
 * and its checksum is right. Every byte is written to its own place: two processes that download the same file write the same.
 */
import { createHash } from "node:crypto";
import { constants } from "node:fs";
import { type FileHandle, open, rename, rm } from "node:fs/promises";
import { setImmediate } from "node:timers/promises";
import { whatIs } from "../../model/file.ts";
import type { Hub, RemoteFile } from "./api.ts";

const BLOCK = 2 ** 20;

export interface Download {
  readonly repo: string;
  readonly commit: string;
  readonly file: RemoteFile;
  /** The path that the file gets. */
  readonly blob: string;
}

/** Where the bytes of a blob grow. */
export const incomplete = (blob: string): string => `${blob}.incomplete`;

/** `onBytes` is called with the number of bytes that came, negative where some were of no use. */
export async function download(asked: Download, hub: Hub, onBytes: (n: number) => void): Promise<void> {
  const { repo, file, blob } = asked;
  const part = incomplete(blob);
  const handle = await open(part, constants.O_RDWR | constants.O_CREAT);
  try {
    const { size } = await handle.stat();
    if (size > file.size) await handle.truncate();
    const there = size > file.size ? 0 : size;
    await fill(asked, hub, handle, there, onBytes);
    if (!(await isRight(handle, file, hub)) && there > 0) {
      // A crash leaves zeros, and other programs their own bytes: from the start, then.
      onBytes(-file.size);
      await fill(asked, hub, handle, 0, onBytes);
    }
    if (!(await isRight(handle, file, hub))) {
      onBytes(-file.size);
      await rm(part, { force: true });
      throw new Error(`${repo}: ${file.path} came with a wrong checksum and is thrown away; pull again`);
    }
  } finally {
    await handle.close();
  }
  try {
    await rename(part, blob);
  } catch (error) {
    if ((await whatIs(blob)) !== "file") throw error; // else another process was faster
  }
}

/** Writes the file's bytes from `start` on, however often the connection is cut while some of them come. */
async function fill(
  { repo, commit, file }: Download,
  hub: Hub,
  handle: FileHandle,
  start: number,
  onBytes: (n: number) => void,
): Promise<void> {
  let at = start;
  for (let failures = 0; at < file.size;) {
    const before = at;
    // A server that knows no ranges sends everything: what is there is skipped.
    const { status, body } = await hub.file(repo, commit, file, at);
    let skip = status === 206 ? 0 : at;
    for await (const chunk of untilCut(body, hub)) {
      const bytes = chunk.subarray(skip, skip + file.size - at);
      skip = Math.max(0, skip - chunk.length);
      for (let done = 0; done < bytes.length;)
        done += (await handle.write(bytes, done, bytes.length - done, at + done)).bytesWritten;
      at += bytes.length;
      onBytes(bytes.length);
      if (at === file.size) break;
    }
    if (at === file.size) break;
    failures = at > before ? 0 : failures + 1;
    await hub.pause(Math.max(1, failures), `${file.path}: the connection was cut`);
  }
  await handle.sync();
}

/** A body's bytes until its end, early or not. */
async function* untilCut(body: ReadableStream<Uint8Array> | null, hub: Hub): AsyncGenerator<Uint8Array> {
  if (!body) return; // as of HTTP 204
  const reader = body.getReader();
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      yield value;
    }
  } catch {
    hub.throwIfStopped();
  } finally {
    await reader.cancel().catch(() => undefined);
  }
}

/** Whether the file on the disk has the checksum that the hub lists: the SHA-256 of its bytes, or git's SHA-1 of a blob. */
async function isRight(handle: FileHandle, { size, etag }: RemoteFile, hub: Hub): Promise<boolean> {
  const hash = etag.length === 64 ? createHash("sha256") : createHash("sha1").update(`blob ${size}\0`);
  const block = Buffer.alloc(BLOCK);
  for (let at = 0; at < size;) {
    const { bytesRead } = await handle.read(block, 0, BLOCK, at);
    if (bytesRead === 0) return false;
    hash.update(block.subarray(0, bytesRead));
    at += bytesRead;
    hub.throwIfStopped();
    await setImmediate();
  }
  return hash.digest("hex") === etag;
}
