/** A device's limits, measured like kernels and among them: kernels/probe on the device under test, all its threads. */
import { type Device } from "../engine/device.ts";
import { type AnyKernel, anyLength, defineKernel, grid } from "../kernels/kernel.ts";
import { SPAN } from "../kernels/probe/span.both.ts";
import { type Candidate } from "./harness.ts";

const unused = {
  formula: "",
  inouts: {},
  webgpu: () => [],
  reference: () => undefined,
  tolerance: () => ({ rel: 0, abs: 0, why: "not compared" }),
  random: {},
  cases: [],
} as const;

/** Multiply-adds in one turn of a unit's loop. */
const LANES = 48;

const multiplyAdds = {
  ...unused,
  inputs: {},
  outputs: { y: "f32[U, L]" },
  params: { turns: "u32" },
  ranges: { turns: anyLength },
  defaults: { turns: 1 },
  cost: ({ U }: { readonly U: number }, { turns }: { readonly turns: number }) => ({
    flops: 2 * LANES * U * turns,
    bytes: 0,
  }),
} as const;
const units = ({ U }: { readonly U: number }): number => U;

const fma = defineKernel({
  ...multiplyAdds,
  name: "probe_fma",
  cpu: [{ export: "probe_fma", units }],
  webgpu: ({ U, L }) => [{ source: "probe/probe_fma.wgsl", groups: grid(Math.ceil((U * L) / 64)) }],
});

/** The same with registers of 128 bits, for comparison, where the build uses wider ones. */
const fma128 = defineKernel({
  ...multiplyAdds,
  name: "probe_fma128",
  cpu: [{ export: "probe_fma128", units }],
});

const copy = defineKernel({
  ...unused,
  name: "probe_copy",
  inputs: { x: "f32[N]" },
  outputs: { y: "f32[N]" },
  params: {},
  defaults: {},
  cpu: [{ export: "probe_copy", units: ({ N }) => Math.ceil(N / SPAN) }],
  webgpu: ({ N }) => [{ source: "probe/probe_copy.wgsl", groups: grid(Math.ceil(N / 1024)) }],
  cost: ({ N }) => ({ flops: 0, bytes: 8 * N }),
});

const read = defineKernel({
  ...unused,
  name: "probe_read",
  inputs: { x: "f32[N]" },
  outputs: { y: "f32[U]" },
  params: {},
  defaults: {},
  cpu: [{ export: "probe_read", units: ({ N }) => Math.ceil(N / SPAN) }],
  cost: ({ N }) => ({ flops: 0, bytes: 4 * N }),
});

/** 64 MiB: beyond the caches of the machines we measure on. */
const FAR = 2 ** 24;

/** Candidates named "limit: …"; run them in the same call of `measure` as what is compared with them. */
export function limits(device: Device): Candidate[] {
  const onCpu = device.info.kind === "cpu";
  const x = device.allocate("f32", FAR, "probe x");
  const y = device.allocate("f32", FAR, "probe y");
  device.write({ buffer: x, offset: 0, length: FAR }, new Float32Array(FAR));
  const candidate = (
    kernel: AnyKernel,
    dims: Record<string, number>,
    params: Record<string, number>,
    slots: Record<string, number>,
  ): Candidate => {
    const views = Object.fromEntries(
      Object.entries(slots).map(([name, length]) => [
        name,
        { buffer: name === "x" ? x : y, offset: 0, length },
      ]),
    );
    return {
      name: `limit: ${kernel.name.slice("probe_".length)}`,
      ...kernel.spec.cost(dims, params, "f32"),
      run: () => {
        device.run({ kernel, slots: views, dims, params });
        return onCpu ? undefined : device.flush();
      },
    };
  };
  if (!onCpu) {
    // Enough units for every core of a GPU, enough turns for the cost of a submit not to count.
    const units = device.info.software ? 2 ** 12 : 2 ** 18;
    return [
      candidate(fma, { U: units, L: 4 }, { turns: 5000 }, { y: 4 * units }),
      candidate(copy, { N: FAR }, {}, { x: FAR, y: FAR }),
    ];
  }
  // 64 units keep any number of threads busy to the end.
  return [
    candidate(fma, { U: 64, L: 8 }, { turns: 20_000 }, { y: 512 }),
    ...(device.info.facts.build === "wide"
      ? [candidate(fma128, { U: 64, L: 8 }, { turns: 20_000 }, { y: 512 })]
      : []),
    candidate(copy, { N: FAR }, {}, { x: FAR, y: FAR }),
    candidate(read, { N: FAR, U: (4 * FAR) / SPAN }, {}, { x: FAR, y: (4 * FAR) / SPAN }),
  ];
}
