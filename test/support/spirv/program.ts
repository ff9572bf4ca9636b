/**
 * Runs a compute shader in SPIR-V lane by lane, as slowly and strictly as the standard allows: lanes go on to the next barrier one after
 * the other, so that what needs a barrier and has none is a finding of memory.ts, whatever a real device would make of it.
 */
import { at } from "../../../kernels/base/at.ts";
import { FunctionCompiler } from "./compiler.ts";
import {
  type Barrier,
  type Block,
  type Compiled,
  RESULT,
  type Running,
  begin,
  first,
  following,
  known,
  valuesOf,
} from "./frames.ts";
import { CheckedMemory } from "./memory.ts";
import { Module, Storage, type Value, wordsOf } from "./module.ts";

const SEMANTICS = { uniform: 0x40, workgroup: 0x100 };
const BUILT_IN = { groups: 24, group: 26, local: 27, global: 28, index: 29 };

export class Program {
  readonly #module: Module;
  readonly #functions: ReadonlyMap<number, Compiled>;

  constructor(words: Uint32Array) {
    this.#module = new Module(words);
    const functions = new Map<number, Compiled>();
    for (const [id, fn] of this.#module.functions)
      functions.set(id, new FunctionCompiler(this.#module, fn, functions).compiled);
    this.#functions = functions;
  }

  /** Runs all workgroups, or the first and the last alone; `bindings`: the words of each. What goes wrong is reported. */
  run(
    groups: readonly [number, number, number],
    bindings: ReadonlyMap<number, Uint32Array>,
    report: (finding: string) => void,
    ends: boolean,
  ): void {
    const outer = new Map<number, CheckedMemory>();
    for (const [id, { name, storage, binding }] of this.#module.variables) {
      if (storage !== Storage.StorageBuffer && storage !== Storage.Uniform) continue;
      const words = bindings.get(binding ?? -1);
      if (!words) throw new Error(`SPIR-V: nothing is bound to ${name}`);
      outer.set(id, new CheckedMemory(name, words, report));
    }
    const [X, Y, Z] = groups;
    const count = X * Y * Z;
    for (let group = 0; group < count; group = ends && group === 0 ? Math.max(1, count - 1) : group + 1)
      this.#group(
        group,
        [group % X, Math.floor(group / X) % Y, Math.floor(group / X / Y)],
        groups,
        outer,
        report,
      );
  }

  #group(
    group: number,
    id: readonly number[],
    groups: readonly number[],
    outer: ReadonlyMap<number, CheckedMemory>,
    report: (finding: string) => void,
  ): void {
    const inner = new Map<number, CheckedMemory>();
    for (const [variable, { name, storage, type }] of this.#module.variables) {
      if (storage === Storage.Workgroup)
        inner.set(variable, new CheckedMemory(name, new Uint32Array(wordsOf(type)), report));
    }
    const memories = new Map([...outer, ...inner]);
    const [x = 1, y = 1, z = 1] = this.#module.workgroupSize;
    const lanes = Array.from({ length: x * y * z }, (_, index) => {
      const local = [index % x, Math.floor(index / x) % y, Math.floor(index / x / y)];
      const builtIns: Record<number, Value> = {
        [BUILT_IN.groups]: groups,
        [BUILT_IN.group]: id,
        [BUILT_IN.local]: local,
        [BUILT_IN.global]: local.map((n, axis) => n + at(id, axis) * at([x, y, z], axis)),
        [BUILT_IN.index]: index,
      };
      const inputs = new Map<number, Value>();
      for (const [variable, { storage, builtIn }] of this.#module.variables)
        if (storage === Storage.Input) inputs.set(variable, builtIns[builtIn ?? -1] ?? 0);
      return this.#call(this.#module.main, [], { index, group, memories, inputs, report });
    });
    for (;;) {
      const met = lanes.map((lane) => lane.next());
      const waiting = met.flatMap(({ done, value }) => (done === true ? [] : [value]));
      const [barrier] = waiting;
      if (!barrier) return;
      if (waiting.length < lanes.length || waiting.some((other) => other.id !== barrier.id)) {
        report(
          `a barrier that not every lane of the workgroup comes to (${waiting.length} of ${lanes.length})`,
        );
        return;
      }
      if (barrier.semantics & SEMANTICS.workgroup) for (const memory of inner.values()) memory.barrier();
      if (barrier.semantics & SEMANTICS.uniform) for (const memory of outer.values()) memory.barrier();
    }
  }

  *#call(id: number, args: readonly Value[], lane: Running): Generator<Barrier, Value, void> {
    const fn = known(this.#functions, id);
    const frame = begin(fn, args);
    for (let block: Block | undefined = first(fn); block; block = following(fn, block, frame)) {
      for (const { steps, after } of block.parts) {
        for (const step of steps) step(frame, lane);
        if (!after) continue;
        if ("semantics" in after) yield after;
        else frame[after.into] = yield* this.#call(after.callee, valuesOf(after.args, frame), lane);
      }
    }
    return frame[RESULT] ?? 0;
  }
}
