/** Changes a GGUF file so that its index stays whole: entries of its metadata and of its tensors come, go, move, and become others. */
import { EXTREMES, type Material, type Mutator, NASTY } from "./mutate_bytes.ts";

/** By GGUF's type numbers; a string and a list have lengths of their own. */
const SIZES = [1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8];
const [STRING, LIST] = [8, 9];

interface Entry {
  readonly key: Buffer;
  readonly type: number;
  readonly value: Buffer;
}

interface Parts {
  readonly entries: Entry[];
  /** Key and all that stands behind it. */
  readonly tensors: { readonly name: Buffer; readonly rest: Buffer }[];
  readonly data: Buffer;
}

/** The parts of a file, or null where it has none. */
function partsOf(bytes: Buffer): Parts | null {
  let at = 24;
  const take = (length: number): Buffer => {
    if (length > bytes.length - at) throw new RangeError();
    return bytes.subarray(at, (at += length));
  };
  const count = (): number => Number(take(8).readBigUInt64LE());
  const skip = (type: number): void => {
    if (type === STRING) take(count());
    else if (type === LIST) {
      const of = take(4).readUInt32LE();
      for (let left = count(); left > 0; left--) skip(of);
    } else if (SIZES[type] === undefined) throw new RangeError();
    else take(SIZES[type]);
  };
  try {
    if (bytes.toString("latin1", 0, 4) !== "GGUF") return null;
    const [tensorCount, keyCount] = [Number(bytes.readBigUInt64LE(8)), Number(bytes.readBigUInt64LE(16))];
    const parts: Parts = { entries: [], tensors: [], data: Buffer.of() };
    for (let i = 0; i < keyCount; i++) {
      const [key, type] = [take(count()), take(4).readUInt32LE()];
      const start = at;
      skip(type);
      parts.entries.push({ key, type, value: bytes.subarray(start, at) });
    }
    for (let i = 0; i < tensorCount; i++) {
      const name = take(count());
      const start = at;
      take(8 * take(4).readUInt32LE() + 12);
      parts.tensors.push({ name, rest: bytes.subarray(start, at) });
    }
    return { ...parts, data: bytes.subarray(Math.min(bytes.length, Math.ceil(at / 32) * 32)) };
  } catch {
    return null;
  }
}

const u32 = (value: number): Buffer => {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32LE(value >>> 0);
  return bytes;
};
const u64 = (value: bigint | number): Buffer => {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64LE(BigInt.asUintN(64, BigInt(value)));
  return bytes;
};
const string = (bytes: Buffer): Buffer => Buffer.concat([u64(bytes.length), bytes]);

function fileOf({ entries, tensors, data }: Parts): Buffer {
  const head = Buffer.concat([
    ...[Buffer.from("GGUF"), u32(3), u64(tensors.length), u64(entries.length)],
    ...entries.flatMap(({ key, type, value }) => [string(key), u32(type), value]),
    ...tensors.flatMap(({ name, rest }) => [string(name), rest]),
  ]);
  return Buffer.concat([head, Buffer.alloc((32 - (head.length % 32)) % 32), data]);
}

function valueOf({ random, words }: Material): Pick<Entry, "type" | "value"> {
  const text = (): Buffer => {
    const some = random.of(random.once(2) || words.length === 0 ? NASTY : words);
    return string(Buffer.from(random.once(8) ? some.repeat(1000) : some));
  };
  const one = (type: number): Buffer => {
    if (type === STRING) return text();
    if (type === LIST) return Buffer.concat([u32(4), u64(1), u32(random.below(9))]);
    const value = random.once(2) ? u64(random.of(EXTREMES)) : u64(random.below(16));
    if (type === 6) value.writeFloatLE(random.of([0, -1, 0.5, 1e-30, 1e30, NaN, Infinity, 10000]));
    if (type === 12) value.writeDoubleLE(random.of([0, -1, 0.5, 1e-300, 1e300, NaN, Infinity, 1e4]));
    return value.subarray(0, SIZES[type]);
  };
  const type = random.once(4) ? LIST : random.once(4) ? STRING : random.below(13);
  if (type !== LIST) return { type, value: one(type) };
  const [of, length] = [random.below(13), random.once(4) ? 500 : random.below(5)];
  const items = Array.from({ length }, () => one(of));
  return { type, value: Buffer.concat([u32(of), u64(length), ...items]) };
}

const operators: readonly ((parts: Parts, material: Material, other: () => Parts) => void)[] = [
  ({ entries }, { random }) => void entries.splice(random.below(entries.length), 1),
  ({ tensors }, { random }) => void tensors.splice(random.below(tensors.length), 1),
  ({ entries }, material, other) => {
    const { random } = material;
    const from = other().entries;
    if (from.length > 0) entries.splice(random.below(entries.length + 1), random.below(2), random.of(from));
  },
  ({ tensors }, { random }, other) => {
    const from = other().tensors;
    if (from.length > 0) tensors.splice(random.below(tensors.length + 1), random.below(2), random.of(from));
  },
  ({ entries }, material) => {
    if (entries.length === 0) return;
    const i = material.random.below(entries.length);
    entries[i] = { ...(entries[i] as Entry), ...valueOf(material) };
  },
  function added({ entries }, material) {
    // a key of the architecture, or of the readers' own
    const { random, words } = material;
    if (words.length === 0) return;
    const architecture = entries.find(({ key }) => key.toString() === "general.architecture");
    const prefix = random.once(2) && architecture ? `${architecture.value.toString("utf8", 8)}.` : "";
    const whole = words.filter((word) => word.includes("."));
    const key = Buffer.from(prefix === "" && whole.length > 0 ? random.of(whole) : prefix + random.of(words));
    const place = entries.findIndex((entry) => entry.key.equals(key)); // where it is there, it becomes another
    entries.splice(place < 0 ? entries.length : place, 1, { key, ...valueOf(material) });
  },
  function bytes({ entries }, { random }) {
    if (entries.length === 0) return;
    const i = random.below(entries.length);
    const entry = entries[i] as Entry;
    const value = Buffer.from(entry.value);
    if (value.length > 0) value[random.below(value.length)] = random.below(256);
    entries[i] = { ...entry, value };
  },
  function shape({ tensors }, { random }) {
    if (tensors.length === 0) return;
    const i = random.below(tensors.length);
    const { name, rest } = tensors[i] as Parts["tensors"][number];
    const changed = Buffer.from(rest);
    const place = random.below(Math.max(1, rest.length / 4 - 1)) * 4;
    changed.set(
      random.once(2) ? u32(Number(random.of(EXTREMES) & 0xffffffffn)) : u32(random.below(40)),
      place,
    );
    tensors[i] = { name, rest: changed };
  },
];

/** The input itself where it is no GGUF file. */
export const mutateGguf: Mutator = (input, material) => {
  const parts = partsOf(input);
  if (!parts) return input;
  const other = (): Parts => partsOf(Buffer.from(material.other())) ?? parts;
  for (let left = 1 + material.random.below(3); left > 0; left--)
    material.random.of(operators)(parts, material, other);
  return fileOf(parts);
};
