/**
 * Negative controls: the conformance driver must catch kernels that are wrong. A fake device computes as the reference does, in
 * f32, and then makes one mistake; without the mistake it passes.
 */
import { at, entry } from "../kernels/base/at.ts";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { openCpu } from "../engine/backends/cpu/backend.ts";
import { ReferenceDevice } from "./support/reference_device.ts";
import type { BufferView, Device, DeviceBuffer, DeviceStats, KernelCall } from "../engine/device.ts";
import { type DType, byteLength } from "../kernels/base/dtype.ts";
import { kernels } from "../kernels/index.ts";
import type { AnyKernel } from "../kernels/kernel.ts";
import { Conformance, type FullCase, listedCases, sameBits } from "./support/conformance.ts";
import { SEED } from "./support/rng.ts";

class HostBuffer implements DeviceBuffer {
  readonly dtype: DType;
  readonly length: number;
  readonly bytes: number;
  readonly label: string;
  readonly memory: ArrayBuffer;

  constructor(dtype: DType, length: number, label: string) {
    this.dtype = dtype;
    this.length = length;
    this.bytes = byteLength(dtype, length);
    this.label = label;
    this.memory = new ArrayBuffer(this.bytes);
  }
}

/** The whole buffer of a slot and where its view begins. */
interface Spoilable {
  readonly values: Float32Array;
  readonly offset: number;
  readonly length: number;
}
type Spoil = (slot: (name: string) => Spoilable, run: number) => void;

class SpoiltDevice implements Device {
  readonly info = { kind: "cpu", description: "a double", software: true, facts: {} } as const;
  readonly viewAlignment = 1;
  readonly #spoil: Spoil;
  readonly #judge = new ReferenceDevice();
  #runs = 0;

  constructor(spoil: Spoil) {
    this.#spoil = spoil;
  }
  allocate(dtype: DType, length: number, label: string): DeviceBuffer {
    return new HostBuffer(dtype, length, label);
  }
  free(): void {}
  #bytes({ buffer, offset, length }: BufferView): Uint8Array {
    const { memory, dtype } = buffer as HostBuffer;
    return new Uint8Array(memory, byteLength(dtype, offset), byteLength(dtype, length));
  }
  write(view: BufferView, data: Uint8Array | Float32Array | Int32Array | Uint32Array): void {
    this.#bytes(view).set(new Uint8Array(data.buffer, data.byteOffset, data.byteLength));
  }
  async read(view: BufferView): Promise<ArrayBuffer> {
    return this.#bytes(view).slice().buffer;
  }
  run({ kernel, slots, dims, params }: KernelCall): void {
    const exact: Record<string, Float64Array | Int32Array> = {};
    const views = kernel.slots.map(({ name, role }) => {
      const view = entry(slots, name);
      const bytes = this.#bytes(view).slice();
      if (role === "output") bytes.fill(0); // as on the reference device
      const integers = view.buffer.dtype === "i32";
      exact[name] = integers
        ? new Int32Array(bytes.buffer)
        : Float64Array.from(new Float32Array(bytes.buffer));
      return [name, view, integers] as const;
    });
    kernel.spec.reference(exact, dims, params);
    for (const [name, view, integers] of views) {
      this.write(view, integers ? (exact[name] as Int32Array) : Float32Array.from(entry(exact, name)));
    }
    this.#spoil((name) => {
      const { buffer, offset, length } = entry(slots, name);
      return { values: new Float32Array((buffer as HostBuffer).memory), offset, length };
    }, this.#runs++);
  }
  async flush(): Promise<void> {}
  stats(): DeviceStats {
    return this.#judge.stats();
  }
  async close(): Promise<void> {}
  async [Symbol.asyncDispose](): Promise<void> {}
}

const swiglu: FullCase = {
  ...{ kernel: kernels.swiglu, dims: { N: 100 }, params: {} },
  ...{ weight: "f32", scale: 1, seed: SEED },
};

async function failure(spoil: Spoil, full = swiglu): Promise<string> {
  try {
    await new Conformance().check("double", new SpoiltDevice(spoil), full);
    return "";
  } catch (error) {
    return (error as Error).message;
  }
}

test("the fake device passes without a mistake, for every kernel without a compact weight", async () => {
  for (const kernel of Object.values<AnyKernel>(kernels)) {
    const small = listedCases(kernel, SEED).filter(({ weight, dims }) => weight === "f32" && !("V" in dims));
    for (const full of small.slice(0, 1)) assert.is(await failure(() => {}, full), "", kernel.name);
  }
});

test("one value that is 10 ppm off fails; the text has kernel, device, case, index, values, bound and seed", async () => {
  const message = await failure((slot) => {
    const { values, offset } = slot("y");
    values[offset + 42] = at(values, offset + 42) * 1.00001 + 1e-4;
  });
  assert.match(message, new RegExp(`^swiglu \\(N=100, seed ${SEED}\\) on double: y\\[42\\] is -?\\d`));
  assert.match(
    message,
    /the reference has -?\d.*they differ by \d.*the bound is \d.*rel 0.000002, abs 0.000001.*1 of 100 elements/,
  );
});

test("a value that is never written fails: it is NaN", async () => {
  const message = await failure((slot) => {
    const { values, offset } = slot("y");
    values[offset + 99] = at(values, offset - 1); // what was there before
  });
  assert.match(message, /y\[99\] is NaN/);
});

for (const [what, at] of [
  ["before", -1],
  ["after", 100],
] as const) {
  test(`a write just ${what} the view trips the guard`, async () => {
    const message = await failure((slot) => {
      const { values, offset } = slot("y");
      values[offset + at] = 0;
    });
    assert.match(message, new RegExp(`the guard zone ${what} y was written: element ${at} of 100`));
  });
}

test("a write next to an input trips the guard, a write to an input is reported", async () => {
  const spoilInput = (at: number) =>
    failure((slot) => {
      const { values, offset } = slot("gate");
      values[offset + at] = 0;
    });
  assert.match(await spoilInput(100), /the guard zone after gate was written: element 100 of 100/);
  assert.match(await spoilInput(7), /input gate was written: element 7 of 100/);
});

test("another bit in the second run fails", async () => {
  const message = await failure((slot, run) => {
    const { values, offset } = slot("y");
    if (run === 1) values[offset + 5] = Math.fround(at(values, offset + 5) * (1 + 2 ** -23));
  });
  assert.match(message, /y\[5\]: run again, it has other bits/);
  assert.throws(
    () => sameBits("y", "on two threads", Uint8Array.of(0, 0, 0, 0), Uint8Array.of(1, 0, 0, 0)),
    /y\[0\]/,
  );
});

test("a wrong integer fails", async () => {
  const full = at(listedCases(kernels.argmax, SEED), 0);
  const message = await failure(
    (slot) => {
      const { values, offset } = slot("index");
      const integers = new Int32Array(values.buffer);
      integers[offset] = at(integers, offset) + 1;
    },
    { ...full, dims: { R: 2, V: 50 } },
  );
  assert.match(message, /index\[0\] is \d+, the reference has \d+/);
});

test("a real kernel fails against a reference that is wrong by one sign", async () => {
  const cpu = await openCpu({ threads: 1 });
  const { spec } = kernels.rope as AnyKernel;
  const wrong: AnyKernel = {
    ...(kernels.rope as AnyKernel),
    spec: {
      ...spec,
      reference: (slots, dims, params) =>
        spec.reference(slots, dims, { ...params, sign: -entry(params, "sign") }),
    },
  };
  try {
    for (const full of listedCases(wrong, SEED).slice(0, 3)) {
      await new Conformance().check("cpu", cpu, full).then(
        () => assert.unreachable("passed"),
        (error: Error) => assert.match(error.message, /^rope .* on cpu: y\[\d+\] is/),
      );
    }
  } finally {
    await cpu.close();
  }
});

test.run();
