/** Values in a shader: element by element, and where their parts lie in memory. */
import { at } from "../../../kernels/base/at.ts";
import type { Arithmetic } from "./arithmetic.ts";
import type { CheckedMemory, Kind, Lane } from "./memory.ts";
import type { Type, Value } from "./module.ts";

export const list = (value: Value | undefined): readonly Value[] => {
  if (typeof value !== "object") throw new Error("SPIR-V: a value is no composite");
  return value;
};

/** Element by element; scalars stand for as many as there are. */
export function each(kind: Kind, f: Arithmetic, a: Value, b: Value = 0, c: Value = 0): Value {
  if (typeof a !== "object" && typeof b !== "object" && typeof c !== "object")
    return f(kind, a as number, b as number, c as number);
  const results: Value[] = [];
  const count = Math.max(...[a, b, c].map((value) => (typeof value === "object" ? value.length : 0)));
  for (let i = 0; i < count; i++) results.push(each(kind, f, part(a, i), part(b, i), part(c, i)));
  return results;
}
const part = (value: Value, i: number): Value => (typeof value === "object" ? at(value, i) : value);

export function readValue(
  memory: CheckedMemory,
  type: Type,
  from: number,
  lane: Lane,
  atomic: boolean,
): Value {
  if (type.kind === "scalar") return memory.read(from, type.of, lane, atomic);
  const parts: Value[] = [];
  if (type.kind === "row")
    for (let i = 0; i < type.count; i++)
      parts.push(readValue(memory, type.of, from + i * type.stride, lane, atomic));
  else if (type.kind === "struct")
    for (const { of, offset } of type.members) parts.push(readValue(memory, of, from + offset, lane, atomic));
  else throw new Error(`SPIR-V: a ${type.kind} is loaded`);
  return parts;
}

export function writeValue(
  memory: CheckedMemory,
  type: Type,
  to: number,
  value: Value,
  lane: Lane,
  atomic: boolean,
): void {
  if (type.kind === "scalar") return memory.write(to, type.of, value as number | boolean, lane, atomic);
  for (const [i, part] of list(value).entries()) {
    if (type.kind === "row") writeValue(memory, type.of, to + i * type.stride, part, lane, atomic);
    else if (type.kind === "struct") {
      const { of, offset } = at(type.members, i);
      writeValue(memory, of, to + offset, part, lane, atomic);
    } else throw new Error(`SPIR-V: a ${type.kind} is stored`);
  }
}

/** Who is told what was found. */
interface Listener {
  readonly report: (finding: string) => void;
}

/** An element, or the last one where there are not so many. */
export function element(values: readonly Value[], index: number, { report }: Listener): Value {
  if (index >= values.length) report(`index ${index} of ${values.length}`);
  return at(values, Math.min(index, values.length - 1));
}

/** `whole` with `part` at the end of the path. */
export function withPart(whole: Value, path: readonly Value[], part: Value, lane: Listener, from = 0): Value {
  if (from === path.length) return part;
  const index = Number(path[from]);
  const inner = withPart(element(list(whole), index, lane), path, part, lane, from + 1);
  return list(whole).map((value, i) => (i === index ? inner : value));
}

export function kindOf(type: Type): Kind {
  if (type.kind === "row") return kindOf(type.of);
  return type.kind === "scalar" ? type.of : "u32";
}
