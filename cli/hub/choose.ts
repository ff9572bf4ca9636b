/** Names of models on the hub, ORG/NAME[:FILE or :QUANTISATION], and which files of a repository such a name asks for. */
import { BadInputError } from "../../engine/errors.ts";
import { asObject, asString, quote, some } from "../../model/untrusted.ts";
import { bytes } from "../format.ts";

export interface HubName {
  /** ORG/NAME */
  readonly repo: string;
  /** A .gguf file, or a quantisation in the name of one. */
  readonly wanted?: string;
}

/** null where the text cannot be the name of a repository. */
export function hubName(text: string): HubName | null {
  const [, repo, wanted] = /^([a-z\d][\w.-]*\/[a-z\d][\w.-]*)(?::(.+))?$/i.exec(text) ?? [];
  return repo === undefined ? null : { repo, ...(wanted !== undefined && { wanted }) };
}

export interface Listed {
  /** In the repository, with slashes. */
  readonly path: string;
  readonly size: number;
}

/** What makes up a model: all files, and the one to open; null = their folder. */
export interface Choice<F> {
  readonly files: readonly F[];
  readonly gguf: F | null;
}

const REQUIRED = ["config.json", "tokenizer.json"];
const OPTIONAL = [
  ...["generation_config.json", "tokenizer_config.json", "special_tokens_map.json", "chat_template.jinja"],
];
const WEIGHTS = "model.safetensors";
const INDEX = "model.safetensors.index.json";
/** A model in several GGUF files. */
const PART = /-\d{5}-of-(\d{5})(?=\.gguf$)/;

/** Reads the list of the parts of a model in several files. */
export type ReadIndex<F> = (index: F) => Promise<unknown>;

/**
 * Chooses from the files of a repository, or of its copy in the cache; null when nothing there fits. Without `wanted`, the model
 * in safetensors, else the only one in GGUF.
 */
export async function choose<F extends Listed>(
  { repo, wanted }: HubName,
  files: readonly F[],
  readIndex: ReadIndex<F>,
): Promise<Choice<F> | null> {
  const all = await models(repo, files, readIndex);
  const folder = all.find(({ gguf }) => gguf === null);
  if (wanted === undefined && folder) return folder;
  const inGguf = all.filter(({ gguf }) => gguf !== null);
  const exact = inGguf.find((model) => model.files.some(({ path }) => path === wanted));
  const found = exact ? [exact] : inGguf.filter(({ gguf }) => wanted === undefined || names(gguf, wanted));
  if (found.length > 1) {
    const which = wanted === undefined ? "" : ` with ${quote(wanted)} in their names`;
    throw new BadInputError(
      `${repo} has several models${which}; name one after a colon (${repo}:NAME): ${list(found)}`,
    );
  }
  return found[0] ?? null;
}

/** All models among the files: the one in safetensors first. */
export async function models<F extends Listed>(
  repo: string,
  files: readonly F[],
  readIndex: ReadIndex<F>,
): Promise<Choice<F>[]> {
  const folder = await folderModel(repo, files, readIndex);
  return [...(folder ? [{ files: folder, gguf: null }] : []), ...ggufModels(files)];
}

/** Why nothing of a repository was chosen. */
export function nothingChosen({ repo, wanted }: HubName, files: readonly Listed[]): BadInputError {
  if (wanted !== undefined) {
    const inGguf = ggufModels(files);
    const others =
      inGguf.length > 0 ? `; there are ${list(inGguf)}` : `, nor any other: leave out :${wanted}`;
    return new BadInputError(
      `${repo} has no .gguf file ${quote(wanted)}, nor one of that quantisation${others}`,
    );
  }
  const has = (name: string): boolean => files.some(({ path }) => path === name);
  const missing = REQUIRED.filter((name) => !has(name));
  if (!has(WEIGHTS) && !has(INDEX)) missing.push(WEIGHTS);
  const why =
    missing.length > 0 ? `it has no ${missing.join(", no ")}` : `${INDEX} names files that are not there`;
  return new BadInputError(`${repo} has no model that templora opens: ${why}, and no .gguf file`);
}

async function folderModel<F extends Listed>(
  repo: string,
  files: readonly F[],
  readIndex: ReadIndex<F>,
): Promise<F[] | null> {
  const byPath = new Map(files.map((file) => [file.path, file]));
  const present = (paths: readonly string[]): F[] => paths.flatMap((path) => byPath.get(path) ?? []);
  const required = present(REQUIRED);
  const [weights] = present([WEIGHTS, INDEX]);
  if (required.length < REQUIRED.length || !weights) return null;
  const beside = [...required, ...present(OPTIONAL), weights];
  if (weights.path !== INDEX) return beside;
  const where = `${repo}: ${INDEX}`;
  const map = asObject(asObject(await readIndex(weights), where)["weight_map"], `${where}: weight_map`);
  const shards = [...new Set(Object.values(map).map((name) => asString(name, `${where}: weight_map`)))];
  const found = present(shards.sort());
  return found.length === shards.length ? [...beside, ...found] : null;
}

/** The models in GGUF: a file each, or all of several parts. What only turns pictures into tokens, or counts weights, is none. */
function ggufModels<F extends Listed>(files: readonly F[]): { files: F[]; gguf: F }[] {
  const found = new Map<string, { files: F[]; gguf: F }>();
  for (const file of [...files].sort((a, b) => (a.path < b.path ? -1 : 1))) {
    if (!file.path.endsWith(".gguf") || /(^|\/)mmproj|imatrix/i.test(file.path)) continue;
    const stem = file.path.replace(PART, "");
    const model = found.get(stem);
    if (model) model.files.push(file);
    else found.set(stem, { files: [file], gguf: file });
  }
  const parts = ({ path }: F): number => Number(PART.exec(path)?.[1] ?? 1);
  return [...found.values()].filter(({ files, gguf }) => files.length === parts(gguf));
}

/** Whether the quantisation stands in a file's name, as words of their own: Q4_K is not in model-Q4_K_M.gguf. */
function names(file: Listed | null, quantisation: string): boolean {
  const words = (file?.path ?? "").replace(PART, "").toLowerCase().split(/[-./]/);
  return words.some((word) => `_${word}`.endsWith(`_${quantisation.toLowerCase()}`));
}

/** Models in GGUF with their sizes. */
function list(found: readonly Choice<Listed>[]): string {
  return some(found.map(({ files, gguf }) => `${quote(gguf?.path ?? "")} (${bytes(bytesOf(files))})`));
}

export const bytesOf = (files: readonly Listed[]): number => files.reduce((sum, { size }) => sum + size, 0);
