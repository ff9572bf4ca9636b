/** Turns a function of a SPIR-V module into steps. */
import { at } from "../../../kernels/base/at.ts";
import { getFloat16 } from "../../../kernels/formats/float16.ts";
import { type Arithmetic, arithmetic, extended } from "./arithmetic.ts";
import {
  type Block,
  type Compiled,
  type Frame,
  NOTHING,
  type Part,
  RESULT,
  type Slot,
  type Step,
  known,
  straight,
  valuesOf,
} from "./frames.ts";
import type { Kind } from "./memory.ts";
import {
  type Fn,
  type Instruction,
  type Module,
  Op,
  Storage,
  type Type,
  type Value,
  bitsOf,
  ofBits,
  zeroOf,
} from "./module.ts";
import { each, element, kindOf, list, readValue, withPart, writeValue } from "./values.ts";

/** What is known of a pointer before it runs: its slot holds an offset in words, or the path into a function's own variable. */
interface Pointer {
  readonly variable: number;
  readonly storage: number;
  readonly of: Type;
}

export class FunctionCompiler {
  readonly compiled: Compiled;
  readonly #module: Module;
  readonly #slots = new Map<number, Slot>();
  readonly #template: Frame = [0, 0, 0];
  readonly #pointers = new Map<number, Pointer>();
  readonly #functions: ReadonlyMap<number, Compiled>;

  constructor(module: Module, fn: Fn, functions: ReadonlyMap<number, Compiled>) {
    this.#module = module;
    this.#functions = functions;
    for (const [id, { storage, type }] of module.variables)
      this.#pointers.set(id, { variable: id, storage, of: type });
    const parameters = fn.parameters.map((id) => this.#slot(id));
    const blocks = new Map<number, Block>();
    for (const [label, code] of fn.blocks) blocks.set(label, this.#block(code));
    this.compiled = {
      template: this.#template,
      parameters,
      entry: at([...fn.blocks.keys()], 0),
      blocks,
    };
  }

  #slot(id: number): Slot {
    let slot = this.#slots.get(id);
    if (slot !== undefined) return slot;
    slot = this.#template.length;
    this.#template.push(this.#module.constants.get(id) ?? (this.#module.variables.has(id) ? 0 : NaN));
    this.#slots.set(id, slot);
    return slot;
  }

  #block(code: readonly Instruction[]): Block {
    const parts: Part[] = [{ steps: [] }];
    let next: Block["next"] | undefined;
    for (const { op, words: w } of code) {
      const last = at(parts, parts.length - 1);
      if (op === Op.LoopMerge || op === Op.SelectionMerge) continue;
      if (op === Op.ControlBarrier) {
        last.after = { id: w, semantics: Number(this.#module.constants.get(at(w, 2))) };
        parts.push({ steps: [] });
      } else if (op === Op.FunctionCall && this.#module.waits(at(w, 2))) {
        const args = w.slice(3).map((id) => this.#slot(id));
        last.after = { callee: at(w, 2), args, into: this.#slot(at(w, 1)) };
        parts.push({ steps: [] });
      } else {
        const end = this.#end(op, w);
        if (end) next = end;
        else last.steps.push(this.#step(op, w));
      }
    }
    if (!next) throw new Error("SPIR-V: a block without an end");
    return { parts, next };
  }

  #end(op: number, w: readonly number[]): Block["next"] | undefined {
    const [first = 0, second = 0, third = 0] = w;
    switch (op) {
      case Op.Branch:
        return () => first;
      case Op.BranchConditional: {
        const slot = this.#slot(first);
        return (frame) => (frame[slot] === true ? second : third);
      }
      case Op.Switch: {
        const slot = this.#slot(first);
        const targets = new Map<Value | undefined, number>();
        for (let i = 2; i < w.length; i += 2) targets.set(at(w, i), at(w, i + 1));
        return (frame) => targets.get(Number(frame[slot]) >>> 0) ?? second;
      }
      case Op.Return:
        return () => undefined;
      case Op.ReturnValue: {
        const slot = this.#slot(first);
        return (frame) => void (frame[RESULT] = at(frame, slot));
      }
      case Op.Unreachable:
        return () => {
          throw new Error("SPIR-V: what cannot be reached was");
        };
      default:
        return undefined;
    }
  }

  #step(op: number, w: readonly number[]): Step {
    if (op === Op.Store) return this.#store(at(w, 0), this.#slot(at(w, 1)), false);
    if (op === Op.AtomicStore) return this.#store(at(w, 0), this.#slot(at(w, 3)), true);
    const type = this.#module.type(at(w, 0));
    const id = at(w, 1);
    const into = this.#slot(id);
    if (op === Op.FunctionCall) {
      const args = w.slice(3).map((argument) => this.#slot(argument));
      return (frame, lane) =>
        void (frame[into] = straight(known(this.#functions, at(w, 2)), valuesOf(args, frame), lane));
    }
    if (op === Op.Variable) return this.#local(id, into, type, w[3]);
    if (op === Op.AccessChain) return this.#chain(id, into, type, at(w, 2), w.slice(3));
    if (op === Op.Load) return this.#load(into, at(w, 2), false);
    if (op === Op.AtomicLoad) return this.#load(into, at(w, 2), true);
    if (op === Op.AtomicIAdd) {
      const [before, value] = [this.#load(into, at(w, 2), true), this.#slot(at(w, 5))];
      const sum = this.#slot(-id);
      const store = this.#store(at(w, 2), sum, true);
      return (frame, lane) => {
        before(frame, lane);
        frame[sum] = (Number(frame[into]) + Number(frame[value])) >>> 0;
        store(frame, lane);
      };
    }
    return this.#pure(op, w, type, into);
  }

  #local(id: number, into: Slot, type: Type, initial: number | undefined): Step {
    if (type.kind !== "pointer") throw new Error("SPIR-V: a variable is no pointer");
    this.#pointers.set(id, { variable: into, storage: Storage.Function, of: type.of });
    const value =
      (initial === undefined ? undefined : this.#module.constants.get(initial)) ?? zeroOf(type.of);
    return (frame) => (frame[into] = value);
  }

  #pointer(id: number): Pointer {
    const pointer = this.#pointers.get(id);
    if (!pointer) throw new Error("SPIR-V: a pointer that is a parameter");
    return pointer;
  }

  #chain(id: number, into: Slot, type: Type, base: number, indices: readonly number[]): Step {
    const from = this.#pointer(base);
    if (type.kind !== "pointer") throw new Error("SPIR-V: an access chain is no pointer");
    this.#pointers.set(id, { ...from, of: type.of });
    const slots = indices.map((index) => this.#slot(index));
    if (from.storage === Storage.Function) {
      const start = from.variable === this.#slot(base) ? undefined : this.#slot(base);
      return (frame) => {
        const path = slots.map((slot) => at(frame, slot));
        frame[into] = start === undefined ? path : [...list(frame[start]), ...path];
      };
    }
    // What each index adds to the offset
    let of = from.of;
    const steps = slots.map((slot, i) => {
      const outer = of;
      if (outer.kind === "struct") {
        const member = at(outer.members, Number(this.#module.constants.get(at(indices, i))));
        of = member.of;
        return { slot, offset: member.offset, stride: 0, count: Infinity };
      }
      if (outer.kind !== "row") throw new Error("SPIR-V: an index into a scalar");
      of = outer.of;
      return { slot, offset: 0, stride: outer.stride, count: outer.count };
    });
    const start = this.#slot(base);
    const { name } = this.#module.variables.get(from.variable) ?? { name: "" };
    return (frame, lane) => {
      let offset = Number(frame[start]);
      for (const step of steps) {
        const index = Number(frame[step.slot]);
        if (index >= step.count) lane.report(`${name}: index ${index} of ${step.count}`);
        offset += step.offset + index * step.stride;
      }
      frame[into] = offset;
    };
  }

  #load(into: Slot, id: number, atomic: boolean): Step {
    const { variable, storage, of } = this.#pointer(id);
    const slot = this.#slot(id);
    if (storage === Storage.Function) {
      const whole = slot === variable;
      return (frame, lane) => {
        let value = at(frame, variable);
        if (!whole) for (const index of list(frame[slot])) value = element(list(value), Number(index), lane);
        frame[into] = value;
      };
    }
    if (storage === Storage.Input)
      return (frame, lane) => void (frame[into] = lane.inputs.get(variable) ?? 0);
    return (frame, lane) => {
      frame[into] = readValue(known(lane.memories, variable), of, Number(frame[slot]), lane, atomic);
    };
  }

  #store(id: number, value: Slot, atomic: boolean): Step {
    const { variable, storage, of } = this.#pointer(id);
    const slot = this.#slot(id);
    if (storage === Storage.Function) {
      if (slot === variable) return (frame) => void (frame[variable] = at(frame, value));
      return (frame, lane) =>
        void (frame[variable] = withPart(at(frame, variable), list(frame[slot]), at(frame, value), lane));
    }
    return (frame, lane) =>
      writeValue(known(lane.memories, variable), of, Number(frame[slot]), at(frame, value), lane, atomic);
  }

  /** What computes a value out of values. */
  #pure(op: number, w: readonly number[], type: Type, into: Slot): Step {
    const kind = kindOf(type);
    if (op === Op.ExtInst) {
      const [code, slots] = [at(w, 3), w.slice(4).map((id) => this.#slot(id))];
      if (code === UNPACK_HALVES) {
        const slot = at(slots, 0);
        const view = new DataView(new ArrayBuffer(4));
        return (frame) => {
          view.setUint32(0, Number(frame[slot]), true);
          frame[into] = [getFloat16(view, 0, true), getFloat16(view, 2, true)];
        };
      }
      return this.#elementwise(extended[code], `extended ${code}`, kind, slots, into);
    }
    const first = this.#slot(at(w, 2));
    switch (op) {
      case 77: {
        // VectorExtractDynamic
        const index = this.#slot(at(w, 3));
        return (frame, lane) => void (frame[into] = element(list(frame[first]), Number(frame[index]), lane));
      }
      case 79: {
        // VectorShuffle
        const second = this.#slot(at(w, 3));
        return (frame) => {
          const both = [...list(frame[first]), ...list(frame[second])];
          frame[into] = w.slice(4).map((i) => both[i] ?? 0);
        };
      }
      case 80: {
        // CompositeConstruct; vectors among a vector's parts are taken apart
        const slots = w.slice(2).map((id) => this.#slot(id));
        const flat = type.kind === "row" && type.of.kind === "scalar";
        return (frame) => {
          const parts = slots.map((slot) => at(frame, slot));
          frame[into] = flat ? parts.flat() : parts;
        };
      }
      case 81: // CompositeExtract
        return (frame) => {
          let value = at(frame, first);
          for (const index of w.slice(3)) value = at(list(value), index);
          frame[into] = value;
        };
      case 84: // Transpose
        return (frame) => {
          const columns = list(frame[first]).map((column) => list(column));
          frame[into] = at(columns, 0).map((_, row) => columns.map((column) => at(column, row)));
        };
      case 124: {
        // Bitcast
        const source = this.#module.typeOf.get(at(w, 2)) ?? type;
        const from: Type = { kind: "scalar", of: kindOf(source) };
        const to: Type = { kind: "scalar", of: kind };
        const cast: Arithmetic = (_, x) => ofBits(bitsOf(x, from), to);
        return (frame) => void (frame[into] = each(kind, cast, at(frame, first)));
      }
      case 148: {
        // Dot
        const second = this.#slot(at(w, 3));
        return (frame) => {
          const [a, b] = [list(frame[first]), list(frame[second])];
          frame[into] = a.reduce<number>(
            (sum, x, i) => Math.fround(sum + Math.fround(Number(x) * Number(b[i]))),
            0,
          );
        };
      }
      case 154: // Any
        return (frame) => void (frame[into] = list(frame[first]).includes(true));
      case 155: // All
        return (frame) => void (frame[into] = !list(frame[first]).includes(false));
      default: {
        const slots = w.slice(2).map((id) => this.#slot(id));
        return this.#elementwise(arithmetic[op], `instruction ${op}`, kind, slots, into);
      }
    }
  }

  #elementwise(
    f: Arithmetic | undefined,
    what: string,
    kind: Kind,
    slots: readonly Slot[],
    into: Slot,
  ): Step {
    if (!f) throw new Error(`SPIR-V: ${what} is not known here`);
    const [first = NOTHING, second = NOTHING, third = NOTHING] = slots;
    return (frame) =>
      void (frame[into] = each(kind, f, at(frame, first), at(frame, second), at(frame, third)));
  }
}

const UNPACK_HALVES = 62;
