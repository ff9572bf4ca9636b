/** Metadata of GGUF in any of its types: a right file with more entries. */

const u64 = (value: number): Buffer => {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64LE(BigInt(value));
  return bytes;
};
const u32 = (value: number): Buffer => u64(value).subarray(0, 4);
const string = (text: string): Buffer => Buffer.concat([u64(Buffer.byteLength(text)), Buffer.from(text)]);

/** By GGUF's type numbers (gguf.h). */
const SIZES: Readonly<Record<number, number>> = { 0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 7: 1, 10: 8, 11: 8 };

function scalar(type: number, value: number): Buffer {
  const bytes = Buffer.alloc(8);
  if (type === 8) return string(String(value));
  if (type === 6) return bytes.subarray(0, bytes.writeFloatLE(value));
  if (type === 12) return bytes.subarray(0, bytes.writeDoubleLE(value));
  return u64(value).subarray(0, SIZES[type]);
}

type Values = readonly (number | Values)[];

function list(type: number, values: Values): Buffer {
  const items = values.map((value) => (typeof value === "number" ? scalar(type, value) : list(4, value)));
  return Buffer.concat([u32(type), u64(values.length), ...items]);
}

/** An entry: a scalar of the type, or a list of such. */
export function ggufEntry(key: string, type: number, value: number | Values): Buffer {
  const isList = typeof value !== "number";
  return Buffer.concat([
    string(key),
    u32(isList ? 9 : type),
    isList ? list(type, value) : scalar(type, value),
  ]);
}

/** A file of version 3 with these entries before its own. */
export function withEntries(file: Buffer, entries: readonly Buffer[]): Buffer {
  const more = Buffer.concat(entries);
  const padded = 24 + more.length;
  const head = Buffer.from(file.subarray(0, 24));
  head.writeBigUInt64LE(head.readBigUInt64LE(16) + BigInt(entries.length), 16);
  // the data begins at a multiple of 32: an entry of a text that is as long as it takes
  const filler = (32 - ((padded + 8 + 8 + 4 + 8) % 32)) % 32;
  const pad = Buffer.concat([string("test.pad"), u32(8), string(" ".repeat(filler))]);
  head.writeBigUInt64LE(head.readBigUInt64LE(16) + 1n, 16);
  return Buffer.concat([head, more, pad, file.subarray(24)]);
}
