/**
 * The conformance driver: one kernel, on one device, for one case, against the float64 reference. Values within the
 * declared tolerance, guard zones and inputs untouched, the same bits when run again.
 */
import { entry } from "../../kernels/base/at.ts";
import fc from "./fast_check.ts";
import { ReferenceDevice } from "./reference_device.ts";
import type { BufferView, Device } from "../../engine/device.ts";
import { type DType, type WeightDType, dtypes, weightDTypes } from "../../kernels/base/dtype.ts";
import { elements, resolveShape } from "../../kernels/base/shape.ts";
import { pack } from "../../kernels/formats/index.ts";
import { type AnyKernel, type KernelCase, type SlotInfo, checkCall } from "../../kernels/kernel.ts";
import { firstDifference, usedShare, worstMismatch } from "./allclose.ts";
import { GuardedBuffer } from "./guard.ts";
import type { KernelRecord } from "./record.ts";
import { TestRandom } from "./rng.ts";

type Numbers = Readonly<Record<string, number>>;

/** A case with everything filled in: sizes, parameters as a caller gives them (float64), and the storage of the weight. */
export interface FullCase {
  readonly kernel: AnyKernel;
  readonly dims: Numbers;
  readonly params: Numbers;
  readonly weight: WeightDType;
  readonly scale: number;
  readonly given?: KernelCase<Numbers, Numbers>["given"];
  readonly seed: number;
}

export function describeCase({ kernel, dims, params, weight, scale, given, seed }: FullCase): string {
  const numbers = Object.entries({ ...dims, ...params }).map(([name, n]) => `${name}=${n}`);
  if (kernel.weightSlot) numbers.push(`w=${weight}`);
  if (scale !== 1) numbers.push(`scale=${scale}`);
  if (given) numbers.push(given.what);
  return `${kernel.name} (${numbers.join(" ")}, seed ${seed})`;
}

/** Storage formats that rows of these sizes fit in whole blocks; ["f32"] where the kernel has no weight. */
export function fittingFormats(kernel: AnyKernel, dims: Numbers): WeightDType[] {
  const slot = kernel.slots.find((s) => s.name === kernel.weightSlot);
  if (!slot) return ["f32"];
  const row = resolveShape(kernel.name, slot, dims).at(-1) ?? 1;
  return weightDTypes.filter((dtype) => row % dtypes[dtype].block === 0);
}

/** The kernel's own cases, in every storage format that fits. */
export function listedCases(kernel: AnyKernel, seed: number): FullCase[] {
  return kernel.spec.cases.flatMap(({ dims, params, scale = 1, given }) => {
    const filled = { ...kernel.spec.defaults, ...(params as Numbers | undefined) };
    return fittingFormats(kernel, dims).map((weight) => ({
      kernel,
      dims,
      params: filled,
      weight,
      scale,
      ...(given && { given }),
      seed,
    }));
  });
}

export function fits(kernel: AnyKernel, dims: Numbers, params: Numbers): boolean {
  try {
    checkCall(kernel, dims, params);
    return true;
  } catch {
    return false;
  }
}

/** Cases of sizes drawn from the declaration's `random`; undefined where it draws none. */
export function randomCases(kernel: AnyKernel, seed: number): fc.Arbitrary<FullCase> | undefined {
  const { random, defaults } = kernel.spec;
  const sizes = kernel.dimNames.map((name) => [name, random[name] ?? []] as const);
  if (sizes.length === 0 || sizes.some(([, choices]) => choices.length === 0)) return undefined;
  const params = defaults;
  const dims = Object.fromEntries(sizes.map(([name, choices]) => [name, fc.constantFrom(...choices)]));
  return fc
    .record(dims)
    .filter((drawn) => fits(kernel, drawn, params))
    .chain((drawn) =>
      fc
        .constantFrom(...fittingFormats(kernel, drawn))
        .map((weight) => ({ kernel, dims: drawn, params, weight, scale: 1, seed })),
    );
}

/** A slot with its contents in storage format (none for outputs). */
interface Content {
  readonly slot: SlotInfo;
  readonly dtype: DType;
  readonly length: number;
  readonly bytes: Uint8Array | undefined;
}

function makeContents(test: FullCase): Content[] {
  const { kernel, dims, params, weight, scale, given, seed } = test;
  const random = new TestRandom(seed, describeCase(test));
  return kernel.slots.map((slot) => {
    const dtype: DType = slot.dtype === "weight" ? weight : slot.dtype;
    const length = elements(resolveShape(kernel.name, slot, dims));
    if (slot.role === "output") return { slot, dtype, length, bytes: undefined };
    const make = given?.values[slot.name] ?? kernel.spec.values?.[slot.name];
    if (!make && (dtype === "i32" || dtype === "u32")) {
      throw new Error(`${kernel.name}: integer slot ${slot.name} needs test values (spec.values)`);
    }
    const values = make?.(random, dims, params) ?? Array.from({ length }, () => scale * random.normal());
    if (values.length !== length) {
      throw new Error(`${kernel.name}: ${values.length} test values for ${slot.name}, needs ${length}`);
    }
    return { slot, dtype, length, bytes: storageBytes(dtype, values) };
  });
}

function storageBytes(dtype: DType, values: ArrayLike<number>): Uint8Array {
  if (dtype === "i32") return new Uint8Array(Int32Array.from(values).buffer);
  if (dtype === "u32") return new Uint8Array(Uint32Array.from(values).buffer);
  return dtype === "f32" ? new Uint8Array(Float32Array.from(values).buffer) : pack(dtype, values);
}

type Results = ReadonlyMap<string, ArrayLike<number>>;

async function runReference(
  { kernel, dims, params }: FullCase,
  contents: readonly Content[],
): Promise<Results> {
  const device = new ReferenceDevice();
  const slots: Record<string, BufferView> = {};
  for (const { slot, dtype, length, bytes } of contents) {
    const view = { buffer: device.allocate(dtype, length, slot.name), offset: 0, length };
    if (bytes) device.write(view, bytes);
    slots[slot.name] = view;
  }
  device.run({ kernel, slots, dims, params });
  const results = new Map<string, ArrayLike<number>>();
  for (const { slot } of contents.filter(({ slot: { role } }) => role !== "input")) {
    const bytes = await device.read(entry(slots, slot.name));
    results.set(
      slot.name,
      slot.dtype === "i32" || slot.dtype === "u32" ? new Int32Array(bytes) : new Float64Array(bytes),
    );
  }
  return results;
}

/** Runs cases on devices; remembers the contents and the reference's results of a case between devices. */
export class Conformance {
  /** How often each kernel was compared, and the largest share of its tolerance that it used; those that failed are left out. */
  readonly results = new Map<string, KernelRecord>();
  readonly #failed = new Set<AnyKernel>();
  readonly #prepared = new WeakMap<FullCase, { contents: Content[]; expected: Results }>();

  async #prepare(test: FullCase): Promise<{ contents: Content[]; expected: Results }> {
    let prepared = this.#prepared.get(test);
    if (!prepared) {
      const contents = makeContents(test);
      prepared = { contents, expected: await runReference(test, contents) };
      this.#prepared.set(test, prepared);
    }
    return prepared;
  }

  /**
   * Throws with everything needed to find the failure again. Returns the bytes of the written slots. `plan` stands in
   * for the kernel on the device when its declaration is changed for a test; `rounds` 1 leaves out running it again, `values`
   * false the comparison with the reference.
   */
  async check(
    name: string,
    device: Device,
    test: FullCase,
    {
      plan = test.kernel,
      rounds = 2,
      values = true,
    }: { readonly plan?: AnyKernel; readonly rounds?: 1 | 2; readonly values?: boolean } = {},
  ): Promise<ReadonlyMap<string, Uint8Array>> {
    const { dims, params } = test;
    const { contents, expected } = await this.#prepare(test);
    const guarded = contents.map((c) => ({
      ...c,
      buffer: new GuardedBuffer(device, c.dtype, c.length, c.slot.name),
    }));
    try {
      const slots = Object.fromEntries(guarded.map(({ slot, buffer }) => [slot.name, buffer.view]));
      let first: Map<string, Uint8Array> | undefined;
      let share = 0;
      for (let round = 0; round < rounds; round++) {
        for (const { buffer, bytes } of guarded) buffer.fill(bytes);
        device.run({ kernel: plan, slots, dims, params });
        await device.flush();
        const results = new Map<string, Uint8Array>();
        for (const { slot, buffer } of guarded) {
          const bytes = await buffer.check(slot.role === "input");
          if (slot.role === "input") continue;
          results.set(slot.name, bytes);
          const before = first?.get(slot.name);
          if (before) sameBits(slot.name, "run again", before, bytes);
          else if (values) share = Math.max(share, compare(test, slot, bytes, expected.get(slot.name) ?? []));
        }
        first ??= results;
      }
      this.#count(test.kernel, share);
      return first ?? new Map();
    } catch (cause) {
      this.#failed.add(test.kernel);
      this.results.delete(test.kernel.name);
      throw new Error(`${describeCase(test)} on ${name}: ${(cause as Error).message}`, { cause });
    } finally {
      for (const { buffer } of guarded) buffer.free();
    }
  }

  #count(kernel: AnyKernel, share: number): void {
    if (this.#failed.has(kernel)) return;
    const before = this.results.get(kernel.name);
    this.results.set(kernel.name, {
      comparisons: (before?.comparisons ?? 0) + 1,
      share: Math.max(before?.share ?? 0, Math.ceil(100 * share) / 100),
    });
  }

  /** One line of all kernels' shares. */
  get shares(): string {
    return [...this.results].map(([name, { share }]) => `${name} ${share.toFixed(2)}`).join(", ");
  }
}

/** Throws where a value is out of its bound; returns the largest share of the bound that was used. */
function compare(
  { kernel, dims, params }: FullCase,
  slot: SlotInfo,
  bytes: Uint8Array<ArrayBuffer>,
  want: ArrayLike<number>,
): number {
  const integers = slot.dtype === "i32" || slot.dtype === "u32";
  const tolerance = integers ? { rel: 0, abs: 0, why: "integers" } : kernel.spec.tolerance(dims, params);
  const got = integers ? new Int32Array(bytes.buffer) : new Float32Array(bytes.buffer);
  const miss = worstMismatch(got, want, tolerance);
  if (miss) {
    const { index, got: value, want: wanted, bound, count } = miss;
    throw new Error(
      `${slot.name}[${index}] is ${value}, the reference has ${wanted}; they differ by ` +
        `${Math.abs(value - wanted).toExponential(2)}, the bound is ${bound.toExponential(2)} ` +
        `(rel ${tolerance.rel}, abs ${tolerance.abs}: ${tolerance.why}); ${count} of ${want.length} elements are out`,
    );
  }
  return integers ? 0 : usedShare(got, want, tolerance);
}

/** Throws when two results differ in a bit. */
export function sameBits(slot: string, what: string, a: Uint8Array, b: Uint8Array): void {
  const at = firstDifference(a, b);
  if (at < 0) return;
  const index = at >> 2;
  const value = (bytes: Uint8Array): number =>
    new DataView(bytes.buffer, bytes.byteOffset).getFloat32(index * 4, true);
  throw new Error(`${slot}[${index}]: ${what}, it has other bits: ${value(a)} and then ${value(b)}`);
}
