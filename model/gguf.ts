/**
 * Reads GGUF (https://github.com/ggml-org/ggml/blob/master/docs/gguf.md): metadata and the index of tensors.
 *
 * Our own parser, since these files are untrusted and @huggingface/gguf 0.4.6 cannot be held to that from outside: it pads
 * a cut-off file with zeros and reads on, cuts a string short at the end of its buffer, follows offsets and shapes without
 * comparing them with the file, and writes keys into a plain object. A walk that finds all of this first is already the
 * parser. It is kept as the second opinion in test/model_files.test.ts.
 */
import { byteLength } from "../kernels/base/dtype.ts";
import { formats, type WeightDType, weightDTypes } from "../kernels/formats/index.ts";
import { BadInputError } from "../engine/errors.ts";
import { STEPS, type Steps, Turns } from "../engine/turns.ts";
import type { InputFile } from "./file.ts";
import { quote, show } from "./untrusted.ts";

export type GgufValue = number | boolean | string | readonly GgufValue[];

export interface GgufTensor {
  readonly name: string;
  readonly dtype: WeightDType;
  /** innermost dimension first, as the file has it: [in, out] */
  readonly dims: readonly number[];
  /** absolute offset in the file */
  readonly start: number;
  readonly bytes: number;
}

export interface GgufIndex {
  readonly metadata: ReadonlyMap<string, GgufValue>;
  /** Where each of them is in the file, key and value. */
  readonly places: ReadonlyMap<string, readonly [start: number, end: number]>;
  readonly tensors: readonly GgufTensor[];
}

// Far above any real file; what they bound is memory, since every list is also bounded by the file's own size.
const MAX_STRING = 2 ** 24;
const MAX_KEYS = 2 ** 16;
const MAX_TENSORS = 2 ** 17;
/** list elements in the whole metadata: a large vocabulary takes 1.5 million */
const MAX_ELEMENTS = 2 ** 24;
const MAX_HEAD = 2 ** 28;

/** By ggml's type numbers (ggml.h). */
const TENSOR_TYPES: ReadonlyMap<number, WeightDType> = new Map(
  weightDTypes.map((dtype) => [formats[dtype].ggml, dtype]),
);
/** Those that are known but not read, for the error. */
const OTHER_TYPES: ReadonlyMap<number, string> = new Map([
  [9, "Q8_1"],
  [15, "Q8_K"],
  [16, "IQ2_XXS"],
  [17, "IQ2_XS"],
  [18, "IQ3_XXS"],
  [19, "IQ1_S"],
  [21, "IQ3_S"],
  [22, "IQ2_S"],
  [24, "I8"],
  [25, "I16"],
  [26, "I32"],
  [27, "I64"],
  [28, "F64"],
  [29, "IQ1_M"],
  [34, "TQ1_0"],
  [35, "TQ2_0"],
]);

/** Reads and checks the index of an open file. */
export async function readGgufIndex(file: InputFile): Promise<GgufIndex> {
  // The index is at the front, as long as its vocabulary makes it; few files need a second, longer look.
  const turns = new Turns();
  for (let head = 2 ** 24; ; head *= 4) {
    const bytes = await file.read(0, Math.min(head, file.size));
    const index = await turns.run(parseGguf(bytes, file.size, file.path));
    if (index) return index;
    if (head >= MAX_HEAD)
      throw new BadInputError(`${file.path}: more than ${MAX_HEAD} bytes of metadata; the file is damaged`);
  }
}

/** Thrown when the index goes on behind the bytes at hand, though not behind the file's end. */
class HeadTooShort extends Error {}

/** The index out of the file's first bytes, or undefined if these are too few. `fileSize` bounds every length and offset. */
export function* parseGguf(head: Uint8Array, fileSize: number, path: string): Steps<GgufIndex | undefined> {
  try {
    return yield* parse(new Cursor(head, fileSize, path), path);
  } catch (error) {
    if (error instanceof HeadTooShort) return undefined;
    throw error;
  }
}

function* parse(at: Cursor, path: string): Steps<GgufIndex> {
  const fail = (why: string): never => {
    throw new BadInputError(`${path}: ${why}`);
  };
  if (at.fileSize < 24 || at.u32("magic") !== 0x46554747)
    fail("not a GGUF file (it does not begin with GGUF)");
  const version = at.u32("version");
  if (version !== 2 && version !== 3)
    fail(`GGUF version ${version}; versions 2 and 3, little-endian, are read`);
  const tensorCount = at.count("number of tensors", 24, MAX_TENSORS);
  const keyCount = at.count("number of metadata keys", 13, MAX_KEYS);

  const metadata = new Map<string, GgufValue>();
  const places = new Map<string, readonly [number, number]>();
  for (let i = 0; i < keyCount; i++) {
    const start = at.position;
    const key = at.string("metadata key");
    if (metadata.has(key)) fail(`metadata key ${quote(key)} is there twice`);
    metadata.set(key, yield* at.value(at.u32(`type of ${quote(key)}`), quote(key)));
    places.set(key, [start, at.position]);
  }

  const listed = Array.from({ length: tensorCount }, () => tensorInfo(at, path));
  const alignment = metadata.get("general.alignment") ?? 32;
  if (
    typeof alignment !== "number" ||
    alignment < 1 ||
    alignment > 2 ** 20 ||
    !Number.isInteger(Math.log2(alignment))
  )
    return fail(`general.alignment ${show(alignment)} is not a power of two up to 2^20`);
  const dataStart = Math.ceil(at.position / alignment) * alignment;
  const tensors = listed.map(({ offset, ...tensor }): GgufTensor => {
    if (offset % alignment !== 0)
      fail(`tensor ${quote(tensor.name)}: offset ${offset} is not a multiple of ${alignment}`);
    if (offset + tensor.bytes > at.fileSize - dataStart)
      fail(
        `tensor ${quote(tensor.name)}: ${tensor.bytes} bytes at offset ${offset} pass the end of the file; is the download complete?`,
      );
    return { ...tensor, start: dataStart + offset };
  });
  const names = new Set<string>();
  let [end, before] = [dataStart, ""];
  for (const { name, start, bytes } of tensors.toSorted((a, b) => a.start - b.start)) {
    if (names.has(name)) fail(`tensor ${quote(name)} is there twice`);
    if (start < end) fail(`tensors ${quote(before)} and ${quote(name)} overlap`);
    names.add(name);
    [end, before] = [start + bytes, name];
  }
  return { metadata, places, tensors };
}

/** One entry of the tensor index; its bytes are computed from type and dimensions. */
function tensorInfo(at: Cursor, path: string): Omit<GgufTensor, "start"> & { readonly offset: number } {
  const name = at.string("tensor name");
  const where = `${path}: tensor ${quote(name)}`;
  const rank = at.u32(`number of dimensions of ${quote(name)}`);
  if (rank < 1 || rank > 4) throw new BadInputError(`${where}: ${rank} dimensions; ggml has 1 to 4`);
  const dims = Array.from({ length: rank }, () => at.u64(`dimension of ${quote(name)}`));
  const type = at.u32(`type of ${quote(name)}`);
  const dtype = TENSOR_TYPES.get(type);
  if (!dtype)
    throw new BadInputError(
      `${where}: stored as ${OTHER_TYPES.get(type) ?? `unknown type ${type}`}; templora reads ${weightDTypes.join(", ").toUpperCase()}`,
    );
  const { block } = formats[dtype];
  const elements = dims.reduce((n, dim) => n * dim, 1);
  // Below 2^53 the float product is exact; a dimension of 0 is not a weight.
  if (elements < 1 || elements > Number.MAX_SAFE_INTEGER / 8)
    throw new BadInputError(`${where}: dimensions [${dims.join(", ")}] make no tensor`);
  if ((dims[0] ?? 0) % block !== 0)
    throw new BadInputError(`${where}: rows of ${dims[0]} do not divide into blocks of ${block}`);
  return {
    name,
    dtype,
    dims,
    bytes: byteLength(dtype, elements),
    offset: at.u64(`offset of ${quote(name)}`),
  };
}

const LIST = 9;
/** Bytes of a metadata value of each scalar type, and the least of a string (8) or a list. */
const SCALAR_BYTES: Readonly<Record<number, number>> = {
  0: 1,
  1: 1,
  2: 2,
  3: 2,
  4: 4,
  5: 4,
  6: 4,
  7: 1,
  8: 8,
  [LIST]: 12,
  10: 8,
  11: 8,
  12: 8,
};

/** Reads forward; every length is held against the end of the file before it is believed. */
class Cursor {
  readonly fileSize: number;
  position = 0;
  readonly #path: string;
  readonly #bytes: Buffer;
  #elements = 0;

  constructor(head: Uint8Array, fileSize: number, path: string) {
    this.fileSize = fileSize;
    this.#path = path;
    this.#bytes = Buffer.from(head.buffer, head.byteOffset, head.byteLength);
  }

  /** Steps over `length` bytes and says where they began. */
  #take(length: number, what: string): number {
    const start = this.position;
    if (length > this.fileSize - start)
      throw new BadInputError(`${this.#path}: ${what} passes the end of the file; it is damaged or cut off`);
    if (start + length > this.#bytes.length) throw new HeadTooShort();
    this.position = start + length;
    return start;
  }

  u32(what: string): number {
    return this.#bytes.readUInt32LE(this.#take(4, what));
  }

  u64(what: string): number {
    const value = this.#bytes.readBigUInt64LE(this.#take(8, what));
    if (value > BigInt(Number.MAX_SAFE_INTEGER))
      throw new BadInputError(`${this.#path}: ${what} is ${value}; the file is damaged`);
    return Number(value);
  }

  /** How many of something follow that take at least `minBytes` each. */
  count(what: string, minBytes: number, most: number): number {
    const count = this.u64(what);
    if (count > most || count * minBytes > this.fileSize - this.position)
      throw new BadInputError(`${this.#path}: ${what} is ${count}, more than the file can hold`);
    return count;
  }

  string(what: string): string {
    const length = this.count(`length of ${what}`, 1, MAX_STRING);
    const start = this.#take(length, what);
    return this.#bytes.toString("utf8", start, start + length);
  }

  *value(type: number, what: string, depth = 0): Steps<GgufValue> {
    return type === LIST ? yield* this.#list(what, depth) : this.#scalar(type, what);
  }

  #scalar(type: number, what: string): GgufValue {
    const take = (): number => this.#take(SCALAR_BYTES[type] ?? 0, what);
    switch (type) {
      case 0:
        return this.#bytes.readUInt8(take());
      case 1:
        return this.#bytes.readInt8(take());
      case 2:
        return this.#bytes.readUInt16LE(take());
      case 3:
        return this.#bytes.readInt16LE(take());
      case 4:
        return this.#bytes.readUInt32LE(take());
      case 5:
        return this.#bytes.readInt32LE(take());
      case 6:
        return this.#bytes.readFloatLE(take());
      case 7:
        return this.#bytes.readUInt8(take()) !== 0;
      case 8:
        return this.string(what);
      case 10:
        return Number(this.#bytes.readBigUInt64LE(take())); // beyond 2^53 rounded: no key read here gets there
      case 11:
        return Number(this.#bytes.readBigInt64LE(take()));
      case 12:
        return this.#bytes.readDoubleLE(take());
      default:
        throw new BadInputError(`${this.#path}: metadata ${what} has unknown type ${type}`);
    }
  }

  *#list(what: string, depth: number): Steps<GgufValue[]> {
    const type = this.u32(what);
    const bytes = SCALAR_BYTES[type];
    if (bytes === undefined)
      throw new BadInputError(`${this.#path}: metadata ${what} is a list of unknown type ${type}`);
    if (depth > 3) throw new BadInputError(`${this.#path}: metadata ${what} nests lists too deeply`);
    const length = this.count(`length of ${what}`, bytes, MAX_ELEMENTS - this.#elements);
    this.#elements += length;
    const list: GgufValue[] = [];
    for (let i = 1; i <= length; i++) {
      list.push(type === LIST ? yield* this.#list(what, depth + 1) : this.#scalar(type, what));
      if (i % STEPS === 0) yield;
    }
    return list;
  }
}
