/** Changes bytes that may mean anything: the operators of every fuzzer, and words of the readers' own. */
import type { Random } from "./random.ts";

/** What an input is made of beside itself. */
export interface Material {
  readonly random: Random;
  /** Words that the readers know. */
  readonly words: readonly string[];
  /** Another input. */
  readonly other: () => Uint8Array;
}

export type Mutator = (input: Buffer, material: Material) => Buffer;

/** Lengths and offsets are made of these. */
export const EXTREMES: readonly bigint[] = [
  ...[0n, 1n, 2n, 3n, 8n, 16n, 24n, 31n, 32n, 33n, 64n, 127n, 128n, 255n, 256n, 1000n, 4096n, 4097n],
  ...[
    1n << 15n,
    (1n << 16n) - 1n,
    1n << 20n,
    (1n << 24n) - 1n,
    1n << 24n,
    1n << 28n,
    (1n << 31n) - 1n,
    1n << 31n,
  ],
  ...[
    (1n << 32n) - 1n,
    1n << 32n,
    (1n << 53n) - 1n,
    1n << 53n,
    1n << 60n,
    (1n << 63n) - 1n,
    (1n << 64n) - 1n,
  ],
];

/** Pieces of text that readers may take amiss. */
export const NASTY: readonly string[] = [
  ...[
    "",
    "\u0000",
    "\n",
    "\u001b[2J",
    "\u0085",
    "\u2028",
    "\ufeff",
    "\ud800",
    "\ud83d\ude00",
    "é",
    "▁",
    "Ġ",
    "\\",
    '"',
  ],
  ...["../", "../outside", "../../x", "/etc/passwd", "..", ".", "a/b", "C:\\x", "a\\b", "link", "%2e%2e/"],
  ...["__proto__", "constructor", "toString", "NaN", "Infinity", "-0", "1e400", "1e-400", "null", "true"],
  ...["(", "[", "(a+)+$", "a{1,99999}", "(?:", "\\p{L}", "{{", "{%", "}}", "%}"],
];

/** Where a piece of the input begins, and where it ends. */
function piece(length: number, random: Random): [start: number, end: number] {
  const start = random.below(length + 1);
  const most = random.once(4) ? length : 16;
  return [start, Math.min(length, start + random.below(most + 1))];
}

const replaced = (input: Buffer, start: number, end: number, by: Uint8Array): Buffer =>
  Buffer.concat([input.subarray(0, start), by, input.subarray(end)]);

const operators: readonly Mutator[] = [
  function flip(input, { random }) {
    const bytes = Buffer.from(input);
    const place = random.below(bytes.length);
    if (bytes.length > 0) bytes[place] = (bytes[place] ?? 0) ^ (1 << random.below(8));
    return bytes;
  },
  function another(input, { random }) {
    const bytes = Buffer.from(input);
    if (bytes.length > 0) bytes[random.below(bytes.length)] = random.below(256);
    return bytes;
  },
  function extreme(input, { random }) {
    const size = random.of([1, 2, 4, 8]);
    const value = Buffer.alloc(8);
    value.writeBigUInt64LE(random.of(EXTREMES));
    const start = random.below(Math.max(1, input.length - size + 1));
    return replaced(input, start, Math.min(input.length, start + size), value.subarray(0, size));
  },
  function cut(input, { random }) {
    const [start, end] = piece(input.length, random);
    return replaced(input, start, end, Buffer.of());
  },
  function end(input, { random }) {
    return Buffer.from(input.subarray(0, random.below(input.length + 1)));
  },
  function repeat(input, { random }) {
    const [start, end] = piece(input.length, random);
    const times = random.once(8) ? 1000 : 1 + random.below(4);
    const some = input.subarray(start, Math.min(end, start + 64));
    return replaced(input, end, end, Buffer.concat(Array<Buffer>(times).fill(some)));
  },
  function word(input, { random, words }) {
    const [start, end] = piece(input.length, random);
    const text = random.once(3) || words.length === 0 ? random.of(NASTY) : random.of(words);
    return replaced(input, start, random.once(2) ? start : end, Buffer.from(text));
  },
  function digits(input, { random }) {
    // a number in the text becomes another
    const numbers = [...input.toString("latin1").matchAll(/-?\d+(\.\d+)?(e[-+]?\d+)?/g)];
    if (numbers.length === 0) return input;
    const { 0: text, index } = random.of(numbers);
    const others = [
      String(random.of(EXTREMES)),
      "-1",
      "0.5",
      "1e400",
      "-0",
      "1e-400",
      String(Number(text) + 1),
    ];
    return replaced(input, index, index + text.length, Buffer.from(random.of(others)));
  },
  function splice(input, { random, other }) {
    const from = Buffer.from(other());
    const [start, end] = piece(from.length, random);
    const at = random.below(input.length + 1);
    return replaced(
      input,
      at,
      random.once(2) ? at : Math.min(input.length, at + end - start),
      from.subarray(start, end),
    );
  },
  function join(input, { random, other }) {
    const from = other();
    return Buffer.concat([
      input.subarray(0, random.below(input.length + 1)),
      from.subarray(random.below(from.length + 1)),
    ]);
  },
];

export const mutateBytes: Mutator = (input, material) => material.random.of(operators)(input, material);
