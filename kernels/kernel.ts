/**
 * What a kernel is: one declaration from which everything else follows — the shape check, the parameter block in WGSL
 * and in AssemblyScript, conformance tests, guard zones, benchmarks, the support table, FLOP and byte accounting.
 * kernels/README.md tells how to add one.
 *
 * The calling convention, for slots in the order inputs, inouts, outputs:
 *  - WGSL: @group(0) @binding(0) is the uniform `Params` struct: every dimension (u32) in order of first appearance in
 *    the slots, then every parameter in declared order; bindings 1… are the slots. Entry point `main`.
 *    A weight slot is `array<u32>`, must be named `w`, and is read through the functions of formats/<dtype>/<dtype>.wgsl.
 *  - AssemblyScript: export name(slot pointers…, dims…, params…, format code of the weight slot if there is one,
 *    the address of shared memory if there is some, begin, end, scratch): works on units [begin, end) of its phase;
 *    `scratch` is this thread's own memory.
 */
import { type WeightDType, byteLength } from "./base/dtype.ts";
import { ParameterError, ShapeError } from "./base/errors.ts";
import { type DimsOf, type ParsedSlot, type Slot, parseSlot } from "./base/shape.ts";

export type ParamType = "f32" | "u32" | "i32";
export type Slots = Readonly<Record<string, Slot>>;
export type ParamTypes = Readonly<Record<string, ParamType>>;

/** The array a reference sees: weights arrive widened, everything real is float64. */
export type RefArray<S extends string> = S extends `i32${string}`
  ? Int32Array
  : S extends `u32${string}`
    ? Uint32Array
    : Float64Array;
export type RefArrays<S extends Slots> = { readonly [K in keyof S]: RefArray<S[K]> };
export type Params<P extends ParamTypes> = { readonly [K in keyof P]: number };

/** The least and the greatest value of a number, given the sizes and the parameters (in method form, as CaseValues). */
type Range<D, P> = { of(dims: D, params: P): readonly [low: number, high: number] }["of"];
export type IntegerSlots<S extends Slots> = {
  [K in keyof S]: S[K] extends `i32${string}` | `u32${string}` ? K : never;
}[keyof S];
export type IntegerParams<P extends ParamTypes> = { [K in keyof P]: P[K] extends "f32" ? never : K }[keyof P];
export type RealParams<P extends ParamTypes> = Exclude<keyof P, IntegerParams<P>>;
/** Demands `ranges` of a kernel with integers, `outside` of one that reads them from memory. */
type Bounded<S extends Slots, P extends ParamTypes> = ([IntegerSlots<S> | IntegerParams<P>] extends [never]
  ? unknown
  : { readonly ranges: object }) &
  ([IntegerSlots<S>] extends [never] ? unknown : { readonly outside: object });

/** The range of a parameter of which every bit is used. */
export const anyWord = (): readonly [number, number] => [0, 2 ** 32 - 1];
/** The range of a switch. */
export const oneBit = (): readonly [number, number] => [0, 1];
/** The range of a length that may exceed the call's own: sums of a few of them fit an i32. */
export const anyLength = (): readonly [number, number] => [0, 2 ** 29];

/** One dispatch of a kernel on WebGPU. */
export interface WebGpuPass {
  /** A .wgsl file, by its path below kernels/: "matmul/widen.wgsl". */
  readonly source: string;
  /** Slot and scratch names, in binding order from 1; all slots in declared order when left out. */
  readonly bindings?: readonly string[];
  /** What is bound of a slot of which not the whole is: its elements [from, from + count). */
  readonly parts?: Readonly<Record<string, readonly [from: number, count: number]>>;
  /** Values of `override` constants; part of the pipeline's key, so never a length. */
  readonly overrides?: Readonly<Record<string, number>>;
  /** Further u32 values of this pass alone, after the parameters in the struct. */
  readonly extra?: Readonly<Record<string, number>>;
  /** Workgroups to dispatch, each at most 65,535 (see `grid`). */
  readonly groups: readonly [number, number, number];
}

/** What a WebGPU plan may depend on besides shapes. */
export interface PlanContext {
  /** Storage dtype of the weight slot ("f32" where there is none). */
  readonly weight: WeightDType;
  /** A software adapter (llvmpipe, SwiftShader): register tiles, no barriers. */
  readonly software: boolean;
  /** Bytes that one binding holds: passes go through larger weights by rows (`rowRuns`). */
  readonly maxBinding: number;
  /** Threads of a subgroup, where the adapter has a single size. */
  readonly subgroupSize?: number;
  /** What was measured to be fastest on this adapter: the variant's name by kernel family and class of shapes. */
  readonly tuned?: Readonly<Record<string, string>>;
}

/** One parallel phase of a kernel on the CPU: units [0, units) are shared out among the threads. */
export interface CpuPhase<D, P> {
  readonly export: string;
  /** Number of independent units of work. The result of a unit never depends on who computes it. */
  units(dims: D, params: P): number;
  /** Units handed out at a time (default 1). */
  grain?(dims: D, params: P): number;
  /** Bytes of scratch memory that each thread needs. */
  scratch?(dims: D, params: P): number;
}

/** |got − reference| ≤ abs + rel·|reference|, element by element. `why` names the arithmetic behind the bound. */
export interface Tolerance {
  readonly rel: number;
  readonly abs: number;
  readonly why: string;
}

/** Seeded source of test values. */
export interface CaseRandom {
  /** Standard normal. */
  normal(): number;
  /** Integer in [0, n). */
  below(n: number): number;
}

/** Makes one slot's test values; in method form, so that a kernel with named dimensions is also an AnyKernel. */
export type CaseValues<D, P> = {
  make(random: CaseRandom, dims: D, params: P): ArrayLike<number>;
}["make"];

export interface KernelCase<D, P> {
  readonly dims: D;
  readonly params?: Partial<P>;
  /** Scale of the normally distributed float inputs (default 1). */
  readonly scale?: number;
  /** Values of this case's own, by slot, and what they are, for messages. */
  readonly given?: {
    readonly what: string;
    readonly values: Readonly<Record<string, CaseValues<D, P> | undefined>>;
  };
}

export interface KernelSpec<
  I extends Slots,
  X extends Slots,
  O extends Slots,
  P extends ParamTypes,
  D = { readonly [K in DimsOf<I[keyof I] | X[keyof X] | O[keyof O]>]: number },
> {
  /** Equals the folder's name, or starts with it. */
  readonly name: string;
  /** The formula, one line. */
  readonly formula: string;
  readonly inputs: I;
  /** Read and written in place. */
  readonly inouts: X;
  readonly outputs: O;
  readonly params: P;
  /**
   * What each integer may be, and real parameters that may not be anything. A parameter outside is refused before the kernel runs (`checkCall`). An integer in memory is
   * known to the kernel alone: it computes with those inside, touches no memory but its slots' whatever they are, and does
   * what `outside` says, the same on every device.
   */
  readonly ranges?: {
    readonly [K in IntegerSlots<I & X> | IntegerParams<P>]: Range<D, Params<P>>;
  } & { readonly [K in RealParams<P>]?: Range<D, Params<P>> };
  /** One line for each integer slot: what a value outside its range does to the result. */
  readonly outside?: { readonly [K in IntegerSlots<I & X>]: string };
  webgpu(dims: D, params: Params<P>, context: PlanContext): readonly WebGpuPass[];
  /** Scratch f32 buffers of the WebGPU passes: name → elements. */
  webgpuScratch?(dims: D, params: Params<P>, context: PlanContext): Readonly<Record<string, number>>;
  readonly cpu: readonly CpuPhase<D, Params<P>>[];
  /** Bytes of memory that all threads and phases of a call on the CPU share: what one phase leaves to the next. */
  cpuShared?(dims: D, params: Params<P>): number;
  /** Float64; fills inouts and outputs. */
  reference(slots: RefArrays<I & X & O>, dims: D, params: Params<P>): void;
  /** Arithmetic operations, and bytes that must cross memory at least once with the weight stored as `weight`. */
  cost(dims: D, params: Params<P>, weight: WeightDType): { flops: number; bytes: number };
  tolerance(dims: D, params: Params<P>): Tolerance;
  /** Parameter values of a case that names none. */
  readonly defaults: Params<P>;
  /** Sizes each dimension may take in random tests; [] = only the listed cases. */
  readonly random: { readonly [K in keyof D]?: readonly number[] };
  /** Sizes that make sense together (default: all); others are refused before the kernel runs. */
  valid?(dims: D, params: Params<P>): boolean;
  /** Test values of slots that are not simply normal (token ids, positive moments…). */
  readonly values?: {
    readonly [K in keyof (I & X)]?: CaseValues<D, Params<P>>;
  };
  readonly cases: readonly KernelCase<D, Params<P>>[];
}

export interface SlotInfo extends ParsedSlot {
  readonly name: string;
  /** Kernel and slot, for messages. */
  readonly label: string;
  readonly role: "input" | "inout" | "output";
}

/** A kernel as the engine and the tests use it: the specification plus what was derived from it once. */
export interface Kernel<
  I extends Slots = Slots,
  X extends Slots = Slots,
  O extends Slots = Slots,
  P extends ParamTypes = ParamTypes,
> {
  readonly spec: KernelSpec<I, X, O, P>;
  readonly name: string;
  readonly slots: readonly SlotInfo[];
  /** Symbols in order of first appearance. */
  readonly dimNames: readonly string[];
  readonly paramNames: readonly string[];
  /** The weight slot's name, or undefined. */
  readonly weightSlot: string | undefined;
  /** What a call's dimensions and slots are copied from: every name, undefined yet. */
  readonly blank: Blank;
}

export interface Blank {
  readonly dims: Readonly<Record<string, undefined>>;
  readonly slots: Readonly<Record<string, undefined>>;
}

/** A kernel whose slots are not known to the type system: what devices and generated tests handle. */
export interface AnyKernel {
  readonly name: string;
  readonly slots: readonly SlotInfo[];
  readonly dimNames: readonly string[];
  readonly paramNames: readonly string[];
  readonly weightSlot: string | undefined;
  readonly spec: AnySpec;
}
export type Numbers = Readonly<Record<string, number>>;
export interface AnySpec {
  readonly name: string;
  readonly formula: string;
  readonly params: ParamTypes;
  readonly ranges?: Readonly<Record<string, Range<Numbers, Numbers> | undefined>>;
  readonly outside?: Readonly<Record<string, string | undefined>>;
  readonly defaults: Numbers;
  readonly random: Readonly<Record<string, readonly number[] | undefined>>;
  readonly cpu: readonly CpuPhase<Numbers, Numbers>[];
  cpuShared?(dims: Numbers, params: Numbers): number;
  readonly cases: readonly KernelCase<Numbers, Numbers>[];
  readonly values?: Readonly<Record<string, CaseValues<Numbers, Numbers> | undefined>>;
  webgpu(dims: Numbers, params: Numbers, context: PlanContext): readonly WebGpuPass[];
  webgpuScratch?(dims: Numbers, params: Numbers, context: PlanContext): Numbers;
  reference(
    slots: Readonly<Record<string, Float64Array | Int32Array | Uint32Array>>,
    dims: Numbers,
    params: Numbers,
  ): void;
  cost(dims: Numbers, params: Numbers, weight: WeightDType): { flops: number; bytes: number };
  tolerance(dims: Numbers, params: Numbers): Tolerance;
  valid?(dims: Numbers, params: Numbers): boolean;
}

export function defineKernel<
  const I extends Slots,
  const X extends Slots,
  const O extends Slots,
  const P extends ParamTypes,
>(spec: KernelSpec<I, X, O, P> & Bounded<I & X, P>): Kernel<I, X, O, P> {
  const slots: SlotInfo[] = [];
  for (const [role, group] of [
    ["input", spec.inputs],
    ["inout", spec.inouts],
    ["output", spec.outputs],
  ] as const) {
    for (const [name, slot] of Object.entries(group)) {
      slots.push({ name, label: `${spec.name}.${name}`, role, ...parseSlot(slot) });
    }
  }
  const symbols = slots.flatMap((s) => s.dims.filter((d) => !/^\d+$/.test(d)));
  const dimNames = [...new Set(symbols)];
  const none = (names: readonly string[]): Readonly<Record<string, undefined>> =>
    Object.fromEntries(names.map((name) => [name, undefined]));
  const weights = slots.filter((s) => s.dtype === "weight");
  if (weights.length > 1 || (weights[0] && weights[0].name !== "w")) {
    throw new Error(`${spec.name}: at most one weight slot, and its name is w`);
  }
  return {
    spec,
    name: spec.name,
    slots,
    dimNames,
    paramNames: Object.keys(spec.params),
    weightSlot: weights[0]?.name,
    blank: { dims: none(dimNames), slots: none(slots.map(({ name }) => name)) },
  };
}

/**
 * Throws when a call's parameters are outside their ranges or its sizes do not go together. Each device asks before
 * it runs a kernel, so that no caller can make one leave its slots' memory.
 */
export function checkCall({ name, paramNames, spec }: AnyKernel, dims: Numbers, params: Numbers): void {
  for (const param of spec.ranges ? paramNames : []) {
    const range = spec.ranges?.[param]?.(dims, params);
    const value = params[param] ?? NaN; // in no range
    const whole = spec.params[param] !== "f32";
    if (!range || (value >= range[0] && value <= range[1] && (!whole || Number.isInteger(value)))) continue;
    throw new ParameterError(`${name}.${param}`, value, range, dims, whole);
  }
  if (spec.valid?.(dims, params) === false) {
    throw new ShapeError(name, `these sizes do not go together: ${JSON.stringify(dims)}`);
  }
}

/** The widest dispatch along one axis (WebGPU's maxComputeWorkgroupsPerDimension default). */
const MAX_GROUPS = 65535;

/**
 * Spreads `groups` workgroups of a one-dimensional kernel over x and y. The shader's linear workgroup index is
 * `wid.y * nwg.x + wid.x`; it must ignore indices ≥ its own count.
 */
export function grid(groups: number): [number, number, number] {
  const x = Math.min(Math.max(groups, 1), MAX_GROUPS);
  return [x, Math.ceil(groups / x) || 1, 1];
}

/** Rows [from, from + count). */
export interface RowRun {
  readonly from: number;
  readonly count: number;
}

/** A view of a run begins at a multiple of 256 bytes, whatever the bytes of a row: no adapter asks for more. */
const RUN_STEP = 256;

/** The rows of a weight in runs that one binding holds, of at most `most` rows; a single run where it can be. */
export function rowRuns(
  rows: number,
  width: number,
  { weight, maxBinding }: Pick<PlanContext, "weight" | "maxBinding">,
  most = Infinity,
): RowRun[] {
  const held = Math.min(most, Math.floor(maxBinding / Math.max(1, byteLength(weight, width))));
  if (rows <= held) return [{ from: 0, count: rows }];
  const step = Math.max(RUN_STEP, Math.floor(held / RUN_STEP) * RUN_STEP);
  const runs: RowRun[] = [];
  for (let from = 0; from < rows; from += step) runs.push({ from, count: Math.min(step, rows - from) });
  return runs;
}
