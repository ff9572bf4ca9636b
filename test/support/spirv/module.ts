/** A SPIR-V module as tables: types with their sizes in memory, constants, variables, functions. What a WGSL compute shader needs. */
import { at } from "../../../kernels/base/at.ts";
import type { Kind } from "./memory.ts";

/** Numbers, vectors and matrices by columns, arrays, structs. Never changed in place. */
export type Value = number | boolean | readonly Value[];

/** Numbers of https://registry.khronos.org/SPIR-V/specs/unified1/SPIRV.html, where this file or spirv.ts name them. */
export const Op = {
  ...{ Name: 5, ExtInst: 12, EntryPoint: 15, ExecutionMode: 16 },
  ...{ TypeVoid: 19, TypeBool: 20, TypeInt: 21, TypeFloat: 22, TypeVector: 23, TypeMatrix: 24 },
  ...{ TypeArray: 28, TypeRuntimeArray: 29, TypeStruct: 30, TypePointer: 32, TypeFunction: 33 },
  ...{ ConstantTrue: 41, ConstantFalse: 42, Constant: 43, ConstantComposite: 44, ConstantNull: 46 },
  ...{
    Function: 54,
    FunctionParameter: 55,
    FunctionEnd: 56,
    FunctionCall: 57,
    Variable: 59,
    Load: 61,
    Store: 62,
  },
  ...{ AccessChain: 65, Decorate: 71, MemberDecorate: 72, ControlBarrier: 224 },
  ...{ AtomicLoad: 227, AtomicStore: 228, AtomicIAdd: 234, LoopMerge: 246, SelectionMerge: 247, Label: 248 },
  ...{ Branch: 249, BranchConditional: 250, Switch: 251, Return: 253, ReturnValue: 254, Unreachable: 255 },
} as const;

export const Storage = { Input: 1, Uniform: 2, Workgroup: 4, Function: 7, StorageBuffer: 12 } as const;
const Decoration = { ArrayStride: 6, MatrixStride: 7, BuiltIn: 11, Binding: 33, Offset: 35 } as const;
const LOCAL_SIZE = 17;

export type Type =
  | { readonly kind: "scalar"; readonly of: Kind }
  | { readonly kind: "row"; readonly of: Type; readonly count: number; readonly stride: number }
  | { readonly kind: "struct"; readonly members: readonly { readonly of: Type; readonly offset: number }[] }
  | { readonly kind: "pointer"; readonly of: Type; readonly storage: number }
  | { readonly kind: "none" };

export interface Instruction {
  readonly op: number;
  readonly words: readonly number[];
}

export interface Variable {
  readonly name: string;
  readonly type: Type;
  readonly storage: number;
  readonly binding: number | undefined;
  readonly builtIn: number | undefined;
}

export interface Fn {
  readonly type: number;
  readonly parameters: readonly number[];
  /** By label; the first is the entry. */
  readonly blocks: ReadonlyMap<number, readonly Instruction[]>;
}

/** Words of a value in memory: matrices, arrays and structs by their strides and offsets. */
export function wordsOf(type: Type): number {
  if (type.kind === "scalar") return 1;
  if (type.kind === "row") return type.count * type.stride;
  if (type.kind === "struct") return Math.max(...type.members.map(({ of, offset }) => offset + wordsOf(of)));
  throw new Error(`SPIR-V: a ${type.kind} in memory`);
}

export function zeroOf(type: Type): Value {
  if (type.kind === "scalar") return type.of === "bool" ? false : 0;
  if (type.kind === "row") return Array.from({ length: type.count }, () => zeroOf(type.of));
  if (type.kind === "struct") return type.members.map(({ of }) => zeroOf(of));
  throw new Error(`SPIR-V: a ${type.kind} without a value`);
}

/** Of the array at the end of a buffer, whose length is the buffer's: more than any buffer has. */
const UNBOUNDED = 2 ** 31;

export class Module {
  readonly types = new Map<number, Type>();
  readonly constants = new Map<number, Value>();
  readonly variables = new Map<number, Variable>();
  readonly functions = new Map<number, Fn>();
  /** The type of each result. */
  readonly typeOf = new Map<number, Type>();
  readonly workgroupSize: number[] = [];
  readonly main: number;
  readonly #names = new Map<number, string>();
  readonly #decorations = new Map<string, number>();

  constructor(words: Uint32Array) {
    const code: Instruction[] = [];
    for (let i = 5; i < words.length; i += at(words, i) >>> 16) {
      const head = at(words, i);
      code.push({ op: head & 0xffff, words: Array.from(words.subarray(i + 1, i + (head >>> 16))) });
    }
    let main: number | undefined;
    let fn: { type: number; parameters: number[]; blocks: Map<number, Instruction[]> } | undefined;
    let block: Instruction[] = [];
    for (const instruction of code) {
      const { op, words: w } = instruction;
      if (op === Op.EntryPoint) main = at(w, 1);
      else if (op === Op.ExecutionMode && w[1] === LOCAL_SIZE) this.workgroupSize.push(...w.slice(2, 5));
      else if (op === Op.Name) this.#names.set(at(w, 0), text(w.slice(1)));
      else if (op === Op.Decorate) this.#decorations.set(`${at(w, 0)} ${at(w, 1)}`, w[2] ?? 0);
      else if (op === Op.MemberDecorate)
        this.#decorations.set(`${at(w, 0)}.${at(w, 1)} ${at(w, 2)}`, w[3] ?? 0);
      else if (op === Op.Function) {
        fn = { type: at(w, 0), parameters: [], blocks: new Map() };
        this.functions.set(at(w, 1), fn);
      } else if (op === Op.FunctionEnd) fn = undefined;
      else if (fn && op === Op.FunctionParameter) {
        fn.parameters.push(at(w, 1));
        this.#result(w);
      } else if (fn && op === Op.Label) fn.blocks.set(at(w, 0), (block = []));
      else if (fn) {
        block.push(instruction);
        if (hasResult(op)) this.#result(w);
      } else this.#declare(op, w);
    }
    if (main === undefined || this.workgroupSize.length !== 3) throw new Error("SPIR-V: no compute shader");
    this.main = main;
  }

  type(id: number): Type {
    const type = this.types.get(id);
    if (!type) throw new Error(`SPIR-V: type ${id} is not known`);
    return type;
  }

  /** Does a function come to a barrier, itself or in what it calls? */
  waits(id: number): boolean {
    const code = [...(this.functions.get(id)?.blocks.values() ?? [])].flat();
    return code.some(
      ({ op, words }) => op === Op.ControlBarrier || (op === Op.FunctionCall && this.waits(at(words, 2))),
    );
  }

  #result(w: readonly number[]): void {
    this.typeOf.set(at(w, 1), this.type(at(w, 0)));
  }

  #decoration(id: number | string, name: keyof typeof Decoration): number | undefined {
    return this.#decorations.get(`${id} ${Decoration[name]}`);
  }

  #declare(op: number, w: readonly number[]): void {
    const [first = 0, second = 0, third = 0] = w;
    const row = (of: Type, count: number, stride: number): void =>
      void this.types.set(first, { kind: "row", of, count, stride });
    const scalar = (of: Kind): void => void this.types.set(first, { kind: "scalar", of });
    const constant = (value: Value): void => {
      this.constants.set(second, value);
      this.#result(w);
    };
    const stride = (of: Type): number => (this.#decoration(first, "ArrayStride") ?? 4 * wordsOf(of)) / 4;
    if (op === Op.TypeVoid || op === Op.TypeFunction) this.types.set(first, { kind: "none" });
    else if (op === Op.TypeBool) scalar("bool");
    else if (op === Op.TypeInt) scalar(third === 1 ? "i32" : "u32");
    else if (op === Op.TypeFloat) scalar("f32");
    else if (op === Op.TypeVector) row(this.type(second), third, 1);
    else if (op === Op.TypeMatrix) row(this.type(second), third, wordsOf(this.type(second)));
    else if (op === Op.TypeArray)
      row(this.type(second), Number(this.constants.get(third)), stride(this.type(second)));
    else if (op === Op.TypeRuntimeArray) row(this.type(second), UNBOUNDED, stride(this.type(second)));
    else if (op === Op.TypeStruct) {
      let packed = 0;
      const members = w.slice(1).map((id, i) => {
        const of = this.type(id);
        const offset = (this.#decoration(`${first}.${i}`, "Offset") ?? 4 * packed) / 4;
        packed = offset + wordsOf(of);
        return { of, offset };
      });
      this.types.set(first, { kind: "struct", members });
    } else if (op === Op.TypePointer)
      this.types.set(first, { kind: "pointer", storage: second, of: this.type(third) });
    else if (op === Op.ConstantTrue || op === Op.ConstantFalse) constant(op === Op.ConstantTrue);
    else if (op === Op.Constant) constant(ofBits(third, this.type(first)));
    else if (op === Op.ConstantComposite) constant(w.slice(2).map((id) => this.constants.get(id) ?? NaN));
    else if (op === Op.ConstantNull) constant(zeroOf(this.type(first)));
    else if (op === Op.Variable) this.variable(w);
  }

  variable(w: readonly number[]): void {
    const [typeId = 0, id = 0] = w;
    const type = this.type(typeId);
    if (type.kind !== "pointer") throw new Error("SPIR-V: a variable is no pointer");
    const binding = this.#decoration(id, "Binding");
    const builtIn = this.#decoration(id, "BuiltIn");
    const name = this.#names.get(id) ?? `binding ${binding ?? "none"}`;
    this.variables.set(id, { name, type: type.of, storage: type.storage, binding, builtIn });
    this.#result(w);
  }
}

const noResult: readonly number[] = [
  ...[Op.Store, Op.AtomicStore, Op.ControlBarrier, Op.LoopMerge, Op.SelectionMerge],
  ...[Op.Branch, Op.BranchConditional, Op.Switch, Op.Return, Op.ReturnValue, Op.Unreachable],
];
const hasResult = (op: number): boolean => !noResult.includes(op);

const buffer = new DataView(new ArrayBuffer(4));
/** A word as a number of this type. */
export function ofBits(word: number, type: Type): number {
  buffer.setUint32(0, word);
  if (type.kind !== "scalar" || type.of === "u32") return word >>> 0;
  return type.of === "i32" ? word | 0 : buffer.getFloat32(0);
}
export function bitsOf(value: number, type: Type): number {
  if (type.kind !== "scalar" || type.of !== "f32") return value >>> 0;
  buffer.setFloat32(0, value);
  return buffer.getUint32(0);
}

const decoder = new TextDecoder();
function text(words: readonly number[]): string {
  const bytes = new Uint8Array(Uint32Array.from(words).buffer);
  return decoder.decode(bytes.subarray(0, bytes.indexOf(0)));
}
