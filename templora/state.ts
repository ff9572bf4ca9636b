/**
 * A run's state on disk, so that an interrupted run continues with the bits of an uninterrupted one: the records so far and the
 * session at its last step.
 *
 * One file: a line of JSON that says which run it is of, a second one with the facts, then the bytes of the arrays in those, one after
 * the other, then the SHA-256 of all that. It is replaced
 * whole (temporary file, fsync, rename). The state before it stays beside it (`FILE.before`), for a file that is torn or lost all the same.
 */
import {
  addTo,
  chmod,
  createHash,
  open,
  readParts,
  readWhole,
  stat,
  writeWhole,
} from "../engine/backends/host/files.ts";
import { BadInputError } from "../engine/errors.ts";
import { asInteger, asObject, asString, plain } from "../model/untrusted.ts";

export interface SavedRun<Facts> {
  /** A hash of all that decides what the run computes (options, model, text): only a run with the same may continue from it. */
  readonly identity: string;
  /** For people and for the next process: what can be told of the run without the facts. */
  readonly about: About;
  /** JSON with Float32Array and Int32Array in it. */
  readonly facts: Facts;
}

/** What the identity is a hash of, by name, short values as they are and long ones as hashes; and files that the run was writing. */
export interface About {
  readonly run: Readonly<Record<string, string>>;
  readonly parts: Readonly<Record<string, string>>;
}

/** The format, and its version. */
const FORMAT = "templora-state";
export const VERSION = 9;
export const MAGIC = `${FORMAT}-${VERSION}`;
const DIGEST = 32;
const arrayTypes = { f32: Float32Array, i32: Int32Array } as const;

/** What stands in the JSON line for an array (its type and length), or for NaN and the infinities, which JSON does not have. */
interface InJson {
  readonly array?: keyof typeof arrayTypes;
  readonly length?: number;
  readonly number?: string;
}

export async function saveRun<Facts>(
  path: string,
  { identity, about, facts }: SavedRun<Facts>,
): Promise<void> {
  const arrays: (Float32Array | Int32Array)[] = [];
  const first = JSON.stringify({ magic: MAGIC, identity, about });
  const inJson = (_key: string, value: unknown): unknown => {
    if (typeof value === "number" && !Number.isFinite(value))
      return { number: String(value) } satisfies InJson;
    if (!(value instanceof Float32Array) && !(value instanceof Int32Array)) return value;
    arrays.push(value);
    const array = value instanceof Float32Array ? "f32" : "i32";
    return { array, length: value.length } satisfies InJson;
  };
  await writeWhole(path, async (file) => {
    const digest = createHash("sha256");
    const write = async (data: Uint8Array): Promise<void> => {
      await addTo(digest, data);
      await file.write(data);
    };
    await write(Buffer.from(`${first}\n`));
    let block = "";
    for (const piece of pieces({ facts }, inJson)) {
      block += piece;
      if (block.length < BLOCK) continue;
      await write(Buffer.from(block));
      block = "";
    }
    await write(Buffer.from(`${block}\n`));
    for (const { buffer, byteOffset, byteLength } of arrays)
      await write(new Uint8Array(buffer, byteOffset, byteLength));
    await file.write(digest.digest());
  });
}

/** How deep a record is: in the file, its facts, their texts, a text, its records. */
const DEPTH = 5;
/** Characters that are written at a time. */
const BLOCK = 2 ** 16;

/** What JSON.stringify makes of a value, in pieces no larger than a record: those of a long text need not be in memory as one string. */
function* pieces(
  value: unknown,
  inJson: (key: string, value: unknown) => unknown,
  depth = DEPTH,
): Generator<string> {
  const isList = Array.isArray(value);
  if (depth === 0 || typeof value !== "object" || value === null || ArrayBuffer.isView(value)) {
    yield JSON.stringify(value, inJson);
    return;
  }
  let before = isList ? "[" : "{";
  for (const [key, one] of Object.entries(value)) {
    if (one === undefined && !isList) continue;
    yield before + (isList ? "" : `${JSON.stringify(key)}:`);
    yield* pieces(one ?? null, inJson, depth - 1);
    before = ",";
  }
  yield before === "," ? (isList ? "]" : "}") : isList ? "[]" : "{}";
}

/**
 * The identity of the run whose state is at `path`; null when there is no file. Reads the file's beginning only; throws
 * BadInputError when the file is no state of any version, so that no other file is ever replaced or removed.
 */
export async function ownerOf(path: string): Promise<string | null> {
  const header = await headerOf(path);
  return header && header.identity;
}

interface Header {
  readonly version: number;
  readonly identity: string;
  /** The first line. */
  readonly line: string;
}

/** The beginning of the state at `path`; null when there is no file. */
async function headerOf(path: string): Promise<Header | null> {
  const beginning = Buffer.alloc(LONGEST_HEADER);
  let length: number;
  try {
    if (!(await stat(path)).isFile()) throw notAState(path);
    const file = await open(path, "r");
    try {
      length = (await file.read(beginning, 0, beginning.length, 0)).bytesRead;
    } finally {
      await file.close();
    }
  } catch (error) {
    return missing(path, error);
  }
  const [line = ""] = beginning.toString("utf8", 0, length).split("\n", 1);
  const found = new RegExp(`^\\{"magic":"${FORMAT}-(\\d{1,6})","identity":"([0-9a-f]{0,64})"`).exec(line);
  if (!found) throw notAState(path);
  return { version: Number(found[1]), identity: found[2] ?? "", line };
}

/** No first line is longer. */
const LONGEST_HEADER = 2 ** 16;

/** What the state at `path` says of its run; null where it says nothing, as one of an older version, or one that is damaged. */
export async function aboutOf(path: string): Promise<About | null> {
  const header = await headerOf(path).catch(() => null);
  if (header?.version !== VERSION) return null;
  try {
    return aboutIn(header.line, path);
  } catch {
    return null;
  }
}

function aboutIn(line: string, path: string): About {
  let about: unknown;
  try {
    ({ about } = JSON.parse(line) as { readonly about?: unknown });
  } catch {
    throw damaged(path, "its first line is no JSON");
  }
  const { run, parts } = asObject(about, `${path}: about`);
  const texts = (of: unknown, where: string): Readonly<Record<string, string>> =>
    Object.fromEntries(
      Object.entries(asObject(of, where)).map(([key, one]) => [key, asString(one, `${where}.${plain(key)}`)]),
    );
  return { run: texts(run, `${path}: run`), parts: texts(parts, `${path}: parts`) };
}

/** Where the state before the newest one is kept. */
export const beforeOf = (path: string): string => `${path}.before`;

/** Keeps a copy of the state at `path`, which must be whole, as the one before the newest. */
export async function keepBefore(path: string): Promise<void> {
  await writeWhole(beforeOf(path), async (file) => {
    for await (const [part] of readParts(path)) await file.write(part);
  });
  await chmod(beforeOf(path), (await stat(path)).mode);
}

/** As `ownerOf`, and where there is no state at `path`, or what is there is none, that of the state before. */
export async function ownerOfEither(path: string): Promise<string | null> {
  const before = (): Promise<string | null> => ownerOf(beforeOf(path)).catch(() => null);
  let owner: string | null;
  try {
    owner = await ownerOf(path);
  } catch (error) {
    const other = await before();
    if (other === null) throw error;
    return other;
  }
  return owner ?? (await before());
}

/**
 * The saved run, or the one before it where the newest is missing or damaged: `lost` then says why. Null when there is neither.
 * Throws as `loadRun` does where no state before it is whole.
 */
export async function loadEither<Facts>(
  path: string,
  identity: string,
): Promise<(SavedRun<Facts> & { readonly lost: string | null }) | null> {
  let [lost, failure] = [`${path} is missing`, null as unknown];
  try {
    const saved = await loadRun<Facts>(path, identity);
    if (saved) return { ...saved, lost: null };
  } catch (error) {
    if (!(error instanceof BadInputError)) throw error;
    [lost, failure] = [error.message.split(";")[0] ?? "", error];
  }
  const before = await loadRun<Facts>(beforeOf(path), identity).catch(() => null);
  if (before) return { ...before, lost };
  if (failure) throw failure as Error;
  return null;
}

/** The saved run, or null when there is no file. Throws BadInputError for another run's state or a damaged file. */
export async function loadRun<Facts>(path: string, identity: string): Promise<SavedRun<Facts> | null> {
  const header = await headerOf(path);
  if (header === null) return null;
  if (header.identity !== identity) throw anothers(path);
  if (header.version !== VERSION) throw ofAnotherVersion(path, header.version);
  let bytes: Buffer;
  try {
    bytes = await readWhole(path);
  } catch (error) {
    return missing(path, error);
  }
  const content = bytes.subarray(0, -DIGEST);
  const digest = createHash("sha256");
  await addTo(digest, content);
  if (!digest.digest().equals(bytes.subarray(-DIGEST))) throw damaged(path, "its checksum differs");
  const second = content.indexOf(10) + 1;
  const about = aboutIn(content.toString("utf8", 0, second - 1), path);
  return { identity, about, facts: factsIn(content.subarray(second), path) as Facts };
}

/** What the second line says, with the arrays behind it. A right checksum proves nothing: whoever changes a file can make another. */
function factsIn(content: Buffer, path: string): unknown {
  let at = content.indexOf(10) + 1;
  let facts: unknown;
  try {
    // The arrays come in the order in which they were written.
    ({ facts } = JSON.parse(content.toString("utf8", 0, at - 1), (_key, value: unknown) => {
      const { number, array, length = 0 } = Object(value) as InJson;
      if (typeof number === "string") return Number(number);
      if (typeof array !== "string" || !Object.hasOwn(arrayTypes, array)) return value;
      const bytes = 4 * asInteger(length, `${path}: length of an array`, 0, (content.length - at) / 4);
      return new arrayTypes[array](Uint8Array.from(content.subarray(at, (at += bytes))).buffer);
    }) as { readonly facts?: unknown });
  } catch (error) {
    if (error instanceof SyntaxError || error instanceof RangeError)
      throw damaged(path, "its second line is no JSON");
    throw error;
  }
  if (at !== content.length) throw damaged(path, "it is longer than what is in it");
  return facts;
}

/** A state that is left alone because another run may still need it. `how`: what of it differs. */
export function anothers(path: string, how = ""): BadInputError {
  const differs = how === "" ? "its model, text, options or version of templora differ" : how;
  return new BadInputError(`${path}: the state of another run (${differs}); name another file`);
}

function damaged(path: string, why: string): BadInputError {
  return new BadInputError(`${path}: the state is damaged (${why}); without --resume the run begins anew`);
}

function ofAnotherVersion(path: string, version: number): BadInputError {
  const which = version < VERSION ? "an older" : "a newer";
  return new BadInputError(
    `${path}: the state is of ${which} version of templora, in format ${version}, and this one reads format ${VERSION}: resume with the version that wrote it; without --resume the run begins anew`,
  );
}

function notAState(path: string): BadInputError {
  return new BadInputError(
    `${path}: not a state file of templora, so it is left as it is; name another file`,
  );
}

/** Null when the error says that the file is not there; throws BadInputError for all others. */
function missing(path: string, error: unknown): null {
  if (error instanceof BadInputError) throw error;
  if ((error as NodeJS.ErrnoException).code === "ENOENT") return null;
  throw new BadInputError(`${path}: cannot read the state: ${(error as Error).message}`);
}
