/**
 * A run can continue from another's state when their identities are equal: hashes of all that decides what is computed. The
 * numerics, on what it is computed, may differ; then figures agree except for their last digits.
 */
import { createHash } from "node:crypto";
import { readFile, stat } from "node:fs/promises";
import { join, resolve } from "node:path";
import type { Device } from "../engine/device.ts";
import { cacheFolder, makeFolder, writeWhole } from "../engine/backends/host/files.ts";
import { STEPS, type Steps, Turns } from "../engine/turns.ts";
import type { ModelFiles } from "../model/model_files.ts";
import type { Tokenizer } from "../model/tokenizer.ts";
import { version } from "./version.ts";

/** The facts on which the last digits of a run's figures depend. */
export type Numerics = Readonly<Record<string, string | number | boolean | readonly string[]>>;

/** The device's build, or adapter, driver and tuning, and V8's version. The number of threads does not matter. */
export function numericsOf({ info }: Device): Numerics {
  const { threads: _threads, shared: _shared, features: _features, device: model, ...facts } = info.facts;
  return {
    device: info.kind,
    ...(model !== undefined && { model }),
    ...facts,
    v8: Number.parseInt(process.versions.v8, 10),
  };
}

/** Called while a model's weights are read, with the bytes done so far and the bytes in all. */
type OnProgress = (done: number, total: number) => void;

/** What decides what a run computes, and its hash. */
export interface Identity {
  readonly hash: string;
  readonly facts: object;
}

/** Of the model's contents, wherever its files are, and `parts`, everything else that decides the run. */
export async function identityOf(
  command: string,
  modelFiles: ModelFiles,
  parts: object,
  onProgress: OnProgress,
): Promise<Identity> {
  const { config, tokenizer } = modelFiles;
  const pieces = await new Turns().run(hashPieces(tokenizer));
  const model = { config, pieces, weights: await weightsOf(modelFiles, onProgress) };
  const facts = { version: version(), command, model, ...parts };
  return { hash: hash(JSON.stringify(facts)), facts };
}

/** A hash of the texts of all tokens. */
function* hashPieces(tokenizer: Tokenizer): Steps<string> {
  const stream = tokenizer.stream();
  const digest = createHash("sha256");
  for (let id = 0; id < tokenizer.vocabSize; id++) {
    digest.update(id === 0 ? stream.push(id) : `\n${stream.push(id)}`);
    if (id % STEPS === 0) yield;
  }
  return digest.digest("hex");
}

export const hash = (data: string | Uint8Array): string => createHash("sha256").update(data).digest("hex");

/**
 * A hash of all weights. It is kept in the cache folder with the files' paths, sizes and times of change, so that they are read
 * for it only once.
 */
async function weightsOf(modelFiles: ModelFiles, onProgress: OnProgress): Promise<string> {
  const seen = JSON.stringify(await filesOf(modelFiles.paths.map((path) => resolve(path))));
  const folder = join(cacheFolder(), "weights");
  const kept = join(folder, `${hash(resolve(modelFiles.source)).slice(0, 16)}.json`);
  try {
    const { files, sha256 } = JSON.parse(await readFile(kept, "utf8")) as {
      files?: unknown;
      sha256?: unknown;
    };
    if (files === seen && typeof sha256 === "string") return sha256;
  } catch {
    // not there, or damaged: made anew
  }
  const sha256 = await hashWeights(modelFiles, onProgress);
  try {
    await makeFolder(folder);
    await writeWhole(kept, JSON.stringify({ files: seen, sha256 }));
  } catch {
    // without a cache the weights are read again next time
  }
  return sha256;
}

async function hashWeights(modelFiles: ModelFiles, onProgress: OnProgress): Promise<string> {
  const entries = [...modelFiles.tensors.values()];
  const total = entries.reduce((sum, { bytes }) => sum + bytes, 0);
  const all = createHash("sha256");
  let done = 0;
  for (const { name, dtype, shape, bytes } of entries) {
    onProgress(done, total);
    all.update(JSON.stringify({ name, dtype, shape }));
    for await (const part of modelFiles.parts(name)) all.update(part);
    done += bytes;
  }
  return all.digest("hex");
}

/** Files as they are now. */
function filesOf(paths: readonly string[]): Promise<[path: string, size: number, ...changed: number[]][]> {
  return Promise.all(
    paths.map(async (path) => {
      const { size, mtimeMs, ctimeMs } = await stat(path); // a copy may keep mtime; nothing sets ctime
      return [path, size, mtimeMs, ctimeMs];
    }),
  );
}
