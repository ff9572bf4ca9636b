/**
 * Numbers that no sound caller gives, generated from the declarations. In memory: ids and targets outside their range do
 * to the result what the declaration says, the same on every device, and no guard zone is touched. As parameters: a value
 * outside its range is refused with a clear error, the values at its ends compute.
 */
import { at, entry } from "../kernels/base/at.ts";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { ReferenceDevice } from "./support/reference_device.ts";
import type { BufferView, Device } from "../engine/device.ts";
import { ParameterError, ShapeError } from "../engine/errors.ts";
import { elements, resolveShape } from "../kernels/base/shape.ts";
import { kernels } from "../kernels/index.ts";
import { type AnyKernel, checkCall } from "../kernels/kernel.ts";
import { openTestCpus, openTestWebGpu } from "./support/backends.ts";
import { Conformance, type FullCase, listedCases } from "./support/conformance.ts";
import { SEED } from "./support/rng.ts";

const test = suite("hostile numbers");
const webgpu = await openTestWebGpu();
const devices = [...(await openTestCpus()), ...(webgpu ? [webgpu] : [])];
const conformance = new Conformance();
const isInteger = (dtype: string): boolean => dtype === "i32" || dtype === "u32";
const isWhole = ({ spec }: AnyKernel, param: string): boolean => isInteger(entry(spec.params, param));

async function checkAll(full: FullCase): Promise<void> {
  for (const { name, device } of devices) await conformance.check(name, device, full, { rounds: 1 });
}

/** The case with every second value of `slot` hostile, beginning with the `shift`-th; the others are valid. */
function spoilt(full: FullCase, slot: string, shift: number): FullCase {
  const { kernel, dims } = full;
  const make = kernel.spec.values?.[slot];
  const [, high] = kernel.spec.ranges?.[slot]?.(dims, full.params) ?? [0, 0];
  const hostile = [-1, -(2 ** 31), 2 ** 31 - 1, high + 1, high + 2, 2 ** 30, 2 ** 30 + 1, -(2 ** 30)];
  const values: typeof make = (random, ...rest) =>
    Array.from(make?.(random, ...rest) ?? [], (value, i) =>
      i % 2 === shift % 2 ? at(hostile, (shift + (i >> 1)) % hostile.length) : value,
    );
  return { ...full, given: { what: `hostile ${slot}, from ${shift}`, values: { [slot]: values } } };
}

for (const kernel of Object.values<AnyKernel>(kernels)) {
  for (const slot of kernel.slots.filter(({ role, dtype }) => role !== "output" && isInteger(dtype))) {
    test(`${kernel.name}: hostile ${slot.name}`, async () => {
      for (const full of listedCases(kernel, SEED)) {
        const few = elements(resolveShape(slot.label, slot, full.dims)) < 16;
        for (let shift = 0; shift < (few ? 8 : 1); shift++) await checkAll(spoilt(full, slot.name, shift));
      }
    });
  }
  for (const param of kernel.paramNames.filter(
    (name) => isWhole(kernel, name) || kernel.spec.ranges?.[name],
  )) {
    test(`${kernel.name}: ${param} at the ends of its range, and outside`, async () => {
      for (const full of listedCases(kernel, SEED).slice(0, 6)) {
        const range = kernel.spec.ranges?.[param];
        if (!range) throw new Error("no range is declared"); // does not compile
        const [low, high] = range(full.dims, full.params);
        const given = (value: number): FullCase => ({ ...full, params: { ...full.params, [param]: value } });
        for (const end of [given(low), given(high)]) if (computes(end)) await checkAll(end);
        const hostile = isWhole(kernel, param) ? [high + 1, 0.5, -(2 ** 31), 2 ** 32] : [2 * high, -Infinity];
        for (const value of [low - 1, NaN, Infinity, ...hostile]) refused(given(value), param);
      }
    });
  }
}

/** The end of one parameter's range may be too much for another: copy's `from` and `count`. */
function computes({ kernel, dims, params }: FullCase): boolean {
  try {
    checkCall(kernel, dims, params);
    return true;
  } catch (error) {
    assert.instance(error, ParameterError);
    return false;
  }
}

function refused(full: FullCase, param: string): void {
  const { kernel, dims, params } = full;
  for (const { device } of [...devices, { device: new ReferenceDevice() }]) {
    const { slots, free } = allocate(device, full);
    try {
      assert.throws(
        () => device.run({ kernel, slots, dims, params }),
        (error: Error) =>
          error instanceof ParameterError &&
          error.message.startsWith(
            `${kernel.name}.${param} is ${params[param]}; it must be a ${isWhole(kernel, param) ? "whole " : ""}number from `,
          ),
      );
    } finally {
      free();
    }
  }
}

function allocate(
  device: Device,
  { kernel, dims, weight }: FullCase,
): { slots: Record<string, BufferView>; free: () => void } {
  const slots = Object.fromEntries(
    kernel.slots.map((slot) => {
      const length = elements(resolveShape(slot.label, slot, dims));
      const buffer = device.allocate(slot.dtype === "weight" ? weight : slot.dtype, length, slot.name);
      return [slot.name, { buffer, offset: 0, length }];
    }),
  );
  return { slots, free: () => Object.values(slots).forEach(({ buffer }) => device.free(buffer)) };
}

test("sizes that do not go together are refused", () => {
  const full = at(listedCases(kernels.top_k, SEED), 0);
  const { kernel, params } = full;
  const dims = { V: 5, K: 6 };
  for (const { device } of devices) {
    const { slots, free } = allocate(device, { ...full, dims });
    assert.throws(
      () => device.run({ kernel, slots, dims, params }),
      (error: Error) => error instanceof ShapeError && error.message.includes('{"V":5,"K":6}'),
    );
    free();
  }
});

test.after(async () => {
  await Promise.all(devices.map(({ device }) => device.close()));
});

test.run();
