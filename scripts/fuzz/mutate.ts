/** Makes an input of another, by what it looks like: several files, JSON, GGUF, safetensors, a line of JSON before other bytes, or bytes. */
import { filesOf, inputOf } from "./files.ts";
import { type Material, type Mutator, mutateBytes } from "./mutate_bytes.ts";
import { mutateGguf } from "./mutate_gguf.ts";
import { mutateJson } from "./mutate_json.ts";

/** No input is longer. */
export const LONGEST = 2 ** 16;

/** With the structure that the input has: the input itself where it has none. */
const structured: Mutator = (input, material) => {
  const begins = input.toString("latin1", 0, 12);
  if (begins.startsWith("GGUF")) return mutateGguf(input, material);
  if (/^\s*[[{]/.test(begins)) {
    const whole = mutateJson(input.toString(), material);
    if (whole !== null) return Buffer.from(whole);
    const line = input.indexOf(10);
    const first = line < 0 ? null : mutateJson(input.toString("utf8", 0, line), material);
    return first === null ? input : Buffer.concat([Buffer.from(first), input.subarray(line)]);
  }
  if (input.length > 10 && input[8] === 0x7b) {
    const length = Number(input.readBigUInt64LE());
    const header = mutateJson(input.toString("utf8", 8, Math.min(input.length, 8 + length)), material);
    if (header === null) return input;
    const size = Buffer.alloc(8);
    size.writeBigUInt64LE(BigInt(Buffer.byteLength(header)));
    return Buffer.concat([size, Buffer.from(header), input.subarray(8 + length)]);
  }
  return input;
};

function once(input: Buffer, material: Material): Buffer {
  const { random } = material;
  if (input.toString("latin1", 0, 4) === "--- " && !random.once(5)) {
    const files = [...filesOf(input, "")];
    const i = random.below(files.length);
    const [name, content] = files[i] as [string, Buffer];
    // a file of the same name out of another input, where there is one
    const other = (): Uint8Array => filesOf(material.other(), "").get(name) ?? content;
    if (random.once(12)) files.splice(i, 1);
    else files[i] = [name, random.once(6) ? Buffer.from(other()) : once(content, { ...material, other })];
    return inputOf(files);
  }
  return random.once(3) ? mutateBytes(input, material) : structured(input, material);
}

export function mutate(input: Uint8Array, material: Material): Buffer {
  let changed: Buffer = Buffer.from(input);
  for (let left = 1 + (material.random.once(3) ? material.random.below(4) : 0); left > 0; left--)
    changed = once(changed, material).subarray(0, LONGEST);
  return changed;
}
