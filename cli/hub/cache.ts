/**
 * The hub's cache on disk, as Python's huggingface_hub and @huggingface/hub have it:
 *
 *   models--ORG--NAME/blobs/CHECKSUM            the bytes
 *   models--ORG--NAME/snapshots/COMMIT/PATH     links to them
 *   models--ORG--NAME/refs/main                 the newest commit
 *
 * The reading is our own: the package's scanCacheDir gives up a repository that was fetched by its commit (no refs/) and sees no
 * files in folders. A reference is written last, so that a pull that was cut leaves the older model in use.
 */
import { randomUUID } from "node:crypto";
import { lstat, readFile, readdir, realpath, rename, rm, stat, symlink } from "node:fs/promises";
import { dirname, join, relative, sep } from "node:path";
import { getHFHubCachePath, getRepoFolderName } from "@huggingface/hub";
import { makeFolder, writeWhole } from "../../engine/backends/host/files.ts";
import { whatIs } from "../../model/file.ts";
import { readJson } from "../../model/json_file.ts";
import { type HubName, type Listed, type ReadIndex, choose } from "./choose.ts";

const PREFIX = "models--";
/** Bytes of an index that are sensible. */
export const MAX_INDEX = 2 ** 26;

/** HF_HUB_CACHE, or a folder in HF_HOME or XDG_CACHE_HOME. */
export const hubFolder = getHFHubCachePath;

export const repoFolder = (name: string): string =>
  join(hubFolder(), getRepoFolderName({ type: "model", name }));

export const blobPath = (repo: string, etag: string): string => join(repoFolder(repo), "blobs", etag);

export const snapshotFolder = (repo: string, commit: string): string =>
  join(repoFolder(repo), "snapshots", commit);

export interface Snapshot {
  readonly folder: string;
  readonly files: readonly Listed[];
  readonly readIndex: ReadIndex<Listed>;
}

/** The names of the repositories in the cache. */
export async function cachedRepos(): Promise<string[]> {
  const names = await foldersIn(hubFolder());
  return names
    .filter((name) => name.startsWith(PREFIX))
    .map((name) => name.slice(PREFIX.length).replace("--", "/"))
    .sort();
}

/** What is there of a repository's commits: that of main first, then the newest. */
export async function snapshots(repo: string): Promise<Snapshot[]> {
  const main = await readFile(join(repoFolder(repo), "refs/main"), "utf8").catch(() => "");
  const commits = await Promise.all(
    (await foldersIn(join(repoFolder(repo), "snapshots"))).map(async (commit) => {
      const folder = snapshotFolder(repo, commit);
      const age = commit === main.trim() ? Infinity : (await stat(folder)).mtimeMs;
      const readIndex = ({ path }: Listed): Promise<unknown> => readJson(join(folder, path), MAX_INDEX);
      return { age, folder, files: await filesBelow(folder), readIndex };
    }),
  );
  return commits.sort((a, b) => b.age - a.age);
}

/** The path to open for a model, where all of it is in the cache; else null. */
export async function findCached(name: HubName): Promise<string | null> {
  for (const { folder, files, readIndex } of await snapshots(name.repo)) {
    const found = await choose(name, files, readIndex);
    if (found) return join(folder, found.gguf?.path ?? "");
  }
  return null;
}

/** Puts a blob under its name into the snapshot of a commit. */
export async function link(repo: string, commit: string, path: string, etag: string): Promise<void> {
  const name = join(snapshotFolder(repo, commit), path);
  const blob = blobPath(repo, etag);
  await makeFolder(dirname(name));
  const own = `${name}.${randomUUID()}`; // another process may do the same
  try {
    await symlink(relative(dirname(name), blob), own);
    await rename(own, name);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "EPERM") throw error;
    await rename(blob, name); // Windows has links for developers only; Python moves the bytes, too
  }
}

/** From now on a repository's name stands for this commit. */
export function setMain(repo: string, commit: string): Promise<void> {
  return writeWhole(join(repoFolder(repo), "refs/main"), commit);
}

/** Removes files of a repository, in all its snapshots, with the bytes that no other file has; returns the bytes freed. */
export async function removeFiles(repo: string, paths: readonly string[]): Promise<number> {
  const all = await snapshots(repo);
  const kept = new Set<string>();
  const going = new Map<string, string>();
  for (const { folder, files } of all)
    for (const { path } of files) {
      const name = join(folder, path);
      const bytes = await realpath(name);
      if (paths.includes(path)) going.set(name, bytes);
      else kept.add(bytes);
    }
  if (kept.size === 0) return removeRepo(repo);
  const before = await sizeOf(repoFolder(repo));
  for (const [name, bytes] of going) {
    await rm(name, { force: true });
    if (!kept.has(bytes)) await rm(bytes, { force: true });
  }
  return before - (await sizeOf(repoFolder(repo)));
}

/** Removes a repository whole; returns the bytes freed. */
export async function removeRepo(repo: string): Promise<number> {
  const folder = repoFolder(repo);
  const size = await sizeOf(folder);
  await rm(folder, { recursive: true, force: true });
  return size;
}

/** Bytes of the files below a folder; links count nothing. */
export async function sizeOf(folder: string): Promise<number> {
  const paths = await readdir(folder, { recursive: true });
  const found = await Promise.all(paths.map((path) => lstat(join(folder, path)).catch(() => null)));
  return found.reduce((sum, entry) => sum + (entry?.isFile() ? entry.size : 0), 0);
}

/** No model of the hub has a name with control characters, which would steer the terminal. */
const printable = (name: string): boolean => !/[\x00-\x1f\x7f-\x9f]/.test(name);

/** The files in a snapshot; a link whose blob is gone is none. */
async function filesBelow(folder: string): Promise<Listed[]> {
  const paths = (await readdir(folder, { recursive: true })).filter(printable);
  const found = await Promise.all(paths.map((path) => stat(join(folder, path)).catch(() => null)));
  return paths.flatMap((path, i) => {
    const entry = found[i];
    return entry?.isFile() ? [{ path: path.replaceAll(sep, "/"), size: entry.size }] : [];
  });
}

/** The folders in a folder, which may be missing; what else is there is none of ours. */
async function foldersIn(folder: string): Promise<string[]> {
  const names = (await whatIs(folder)) === "folder" ? (await readdir(folder)).filter(printable) : [];
  const found = await Promise.all(names.map((name) => stat(join(folder, name)).catch(() => null)));
  return names.filter((_, i) => found[i]?.isDirectory());
}
