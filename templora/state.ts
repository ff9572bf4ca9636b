/**
 * A run's state on disk, so that an interrupted run continues with the bits of an uninterrupted one: the records so far and the
 * session at its last step.
 *
 * One file: a line of JSON, then the bytes of the arrays in it, one after the other, then the SHA-256 of all that. It is replaced
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
import { asInteger } from "../model/untrusted.ts";

export interface SavedRun<Facts> {
  /** A hash of all that decides what the run computes (options, model, text): only a run with the same may continue from it. */
  readonly identity: string;
  /** JSON with Float32Array and Int32Array in it. */
  readonly facts: Facts;
}

/** The format, and its version. */
const FORMAT = "templora-state";
export const MAGIC = `${FORMAT}-8`;
const DIGEST = 32;
const arrayTypes = { f32: Float32Array, i32: Int32Array } as const;

/** What stands in the JSON line for an array (its type and length), or for NaN and the infinities, which JSON does not have. */
interface InJson {
  readonly array?: keyof typeof arrayTypes;
  readonly length?: number;
  readonly number?: string;
}

export async function saveRun<Facts>(path: string, { identity, facts }: SavedRun<Facts>): Promise<void> {
  const arrays: (Float32Array | Int32Array)[] = [];
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
    let block = "";
    for (const piece of pieces({ magic: MAGIC, identity, facts }, inJson)) {
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
  const beginning = Buffer.alloc(256);
  try {
    if (!(await stat(path)).isFile()) throw notAState(path);
    const file = await open(path, "r");
    try {
      await file.read(beginning, 0, beginning.length, 0);
    } finally {
      await file.close();
    }
  } catch (error) {
    return missing(path, error);
  }
  const found = new RegExp(`^\\{"magic":"${FORMAT}-\\d+","identity":"([0-9a-f]*)"`).exec(
    beginning.toString("latin1"),
  );
  if (!found) throw notAState(path);
  return found[1] ?? "";
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
  const owner = await ownerOf(path);
  if (owner === null) return null;
  if (owner !== identity) throw anothers(path);
  let bytes: Buffer;
  try {
    bytes = await readWhole(path);
  } catch (error) {
    return missing(path, error);
  }
  if (!bytes.toString("latin1", 0, 64).startsWith(`{"magic":"${MAGIC}"`)) throw notAState(path);
  const content = bytes.subarray(0, -DIGEST);
  const digest = createHash("sha256");
  await addTo(digest, content);
  if (!digest.digest().equals(bytes.subarray(-DIGEST)))
    throw new BadInputError(
      `${path}: the state is damaged (its checksum differs); without --resume the run begins anew`,
    );
  return { identity, facts: factsIn(content, path) as Facts };
}

/** What the JSON line says, with the arrays behind it. A right checksum proves nothing: whoever changes a file can make another. */
function factsIn(content: Buffer, path: string): unknown {
  const wrong = (why: string): BadInputError =>
    new BadInputError(`${path}: the state is damaged (${why}); without --resume the run begins anew`);
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
    if (error instanceof SyntaxError || error instanceof RangeError) throw wrong("its first line is no JSON");
    throw error;
  }
  if (at !== content.length) throw wrong("it is longer than what is in it");
  return facts;
}

/** A state that is left alone because another run may still need it. */
export function anothers(path: string): BadInputError {
  return new BadInputError(
    `${path}: the state of another run (its model, text, options or version of templora differ); name another file`,
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
