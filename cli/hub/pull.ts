/** Brings a model from the hub into its cache: what there is to download and whether it fits the disk, then file after file. */
import { stat, statfs } from "node:fs/promises";
import { dirname, join } from "node:path";
import { makeFolder } from "../../engine/backends/host/files.ts";
import { BadInputError } from "../../engine/errors.ts";
import { describeFolder } from "../../model/families/index.ts";
import { readJson } from "../../model/json_file.ts";
import { writeError } from "../errors.ts";
import { bytes, count } from "../format.ts";
import type { Terminal } from "../output.ts";
import { DownloadProgress } from "../progress.ts";
import type { Hub, RemoteFile } from "./api.ts";
import { MAX_INDEX, blobPath, hubFolder, link, setMain, snapshotFolder } from "./cache.ts";
import { type HubName, bytesOf, choose, nothingChosen } from "./choose.ts";
import { download, incomplete } from "./download.ts";

const MAX_CONFIG = 2 ** 24;

export interface Plan {
  readonly repo: string;
  readonly commit: string;
  readonly files: readonly RemoteFile[];
  /** The path to open when all is there. */
  readonly path: string;
  readonly bytes: number;
  /** Of these, how many are not in the cache. */
  readonly missing: number;
}

/** What a pull would do, told in a note. Throws where the model does not fit the disk. */
export async function planPull(name: HubName, hub: Hub, terminal: Terminal): Promise<Plan> {
  const { repo } = name;
  const { commit, files: all } = await hub.list(repo);
  const readIndex = async (index: RemoteFile): Promise<unknown> => {
    if (index.size > MAX_INDEX) throw new BadInputError(`${repo}: ${index.path} has ${bytes(index.size)}`);
    const response = await hub.file(repo, commit, index);
    return response.json().catch(() => {
      hub.throwIfStopped();
      throw new Error(`${repo}: ${index.path} came as no JSON; try again`);
    });
  };
  const chosen = await choose(name, all, readIndex);
  if (!chosen) throw nothingChosen(name, all);
  const { files, gguf } = chosen;
  const missing = await Promise.all(
    files.map(async (file) =>
      (await isHere(repo, commit, file))
        ? 0
        : file.size - Math.max(0, await sizeAt(incomplete(blobPath(repo, file.etag)))),
    ),
  );
  const plan = {
    ...{ repo, commit, files, path: join(snapshotFolder(repo, commit), gguf?.path ?? "") },
    ...{ bytes: bytesOf(files), missing: missing.reduce((sum, n) => sum + Math.max(0, n), 0) },
  };
  const free = await freeBytes();
  terminal.note(
    `${repo}: ${count(files.length)} file(s), ${bytes(plan.bytes)}, ${bytes(plan.missing)} of it to download; ` +
      `${bytes(free)} free in ${hubFolder()}`,
  );
  if (plan.missing > free)
    throw new Error(
      `${hubFolder()}: ${bytes(free)} are free, and ${bytes(plan.missing)} are to be downloaded; remove something ` +
        "(templora models --remove NAME), or let HF_HUB_CACHE name another disk",
    );
  return plan;
}

/** Downloads what is missing, and returns the path to open. */
export async function pull(plan: Plan, hub: Hub, terminal: Terminal): Promise<string> {
  const { repo, commit, files } = plan;
  const progress = new DownloadProgress(terminal, repo, plan.bytes, plan.bytes - plan.missing);
  try {
    for (const file of files) {
      const blob = blobPath(repo, file.etag);
      if (!(await isHere(repo, commit, file))) {
        await makeFolder(dirname(blob));
        await download({ repo, commit, file, blob }, hub, (n) => progress.add(n));
        await link(repo, commit, file.path, file.etag);
      } else if ((await sizeAt(blob)) === file.size) await link(repo, commit, file.path, file.etag);
      // A model that templora does not run is refused before its weights come.
      if (file.path === "config.json") {
        const path = join(snapshotFolder(repo, commit), file.path);
        describeFolder(await readJson(path, MAX_CONFIG), path);
      }
    }
    await setMain(repo, commit);
  } catch (error) {
    progress.end();
    if (progress.done > 0 && !(error instanceof BadInputError))
      terminal.note(
        `${bytes(progress.done)} of ${bytes(plan.bytes)} are here and kept: the same command goes on from there`,
      );
    throw isSystemError(error) ? writeError(hubFolder(), error) : error;
  }
  progress.end();
  return plan.path;
}

/** Whether a file's bytes are in the cache: as a blob, or, where there are no links, under their name. */
async function isHere(repo: string, commit: string, { path, size, etag }: RemoteFile): Promise<boolean> {
  const places = [blobPath(repo, etag), join(snapshotFolder(repo, commit), path)];
  return (await Promise.all(places.map(sizeAt))).includes(size);
}

/** -1 where there is nothing. */
async function sizeAt(path: string): Promise<number> {
  return (await stat(path).catch(() => null))?.size ?? -1;
}

async function freeBytes(): Promise<number> {
  try {
    await makeFolder(hubFolder());
    const { bavail, bsize } = await statfs(hubFolder());
    return bavail * bsize;
  } catch (error) {
    throw writeError(hubFolder(), error);
  }
}

function isSystemError(error: unknown): boolean {
  return error instanceof Error && "syscall" in error;
}
