/**
 * Faults of a device at the n-th of its calls, whoever opens it: the methods of the class CpuDevice or WebGpuDevice are wrapped, in this
 * process. The faults are real ones where they can be had: Dawn's device is destroyed, a worker thread is terminated, memory is asked for
 * that nobody has, a dispatch is larger than any adapter takes. Only a lost cpu device is pretended: from that call on each call says so.
 */
import { CpuDevice } from "../../engine/backends/cpu/backend.ts";
import { WebGpuDevice } from "../../engine/backends/webgpu/backend.ts";
import type { Device } from "../../engine/device.ts";
import { DeviceLostError } from "../../engine/errors.ts";

export type Kind = "cpu" | "webgpu";

/** What can happen to which device. `memory` is the device's, `host` the system's; `thread` is any that this process has started. */
export const waysOf = {
  cpu: ["lost", "thread", "memory", "host"],
  webgpu: ["lost", "memory", "host", "kernel"],
} as const satisfies Record<Kind, readonly string[]>;
export type Way = (typeof waysOf)[Kind][number];

export interface Fault {
  readonly kind: Kind;
  readonly way: Way;
  /** At which of the calls that can fail so; Infinity: they are counted only. */
  readonly at: number;
  /** How often it comes, each time after so many calls; default once. */
  readonly times?: number;
}

export interface Planted extends Disposable {
  /** Calls so far that could have failed so. */
  readonly calls: number;
  /** How often the fault has come. */
  readonly struck: number;
  /** Buffers that live on the devices that were used since. */
  readonly liveBuffers: number;
}

type Method = (this: object, ...given: never[]) => unknown;
type Methods = Record<string, Method>;

/** The threads that this process has started, the newest last. */
const threads: { terminate(): Promise<number> }[] = [];
process.on("worker", (worker) => void threads.push(worker));

/** Plants a fault; the caller disposes of it. */
export async function plant({ kind, way, at, times = 1 }: Fault): Promise<Planted> {
  let [calls, struck] = [0, 0];
  const used = new Set<Device>();
  const undo: (() => void)[] = [];
  const replace = (methods: Methods, name: string, by: (original: Method) => Method): void => {
    const original = methods[name];
    if (!original) throw new Error(`no method ${name}`);
    methods[name] = by(original);
    undo.push(() => (methods[name] = original));
  };
  const isStruck = (): boolean => {
    const now = ++calls % at === 0 && struck < times;
    if (now) struck++;
    return now;
  };
  /** Whenever a call of one of these methods is struck, `strike` takes its place. */
  const before = (
    methods: object,
    names: readonly string[],
    strike: (device: object, call: (...given: unknown[]) => unknown, given: unknown[]) => unknown,
    isHit: (device: object) => boolean = isStruck,
  ): void => {
    for (const name of names)
      replace(methods as Methods, name, (original) => function (this: object, ...given: unknown[]) {
        const call = (...other: unknown[]): unknown => original.apply(this, other as never[]);
        return isHit(this) ? strike(this, call, given) : call(...given);
      }); // prettier-ignore
  };
  const device = kind === "cpu" ? CpuDevice.prototype : WebGpuDevice.prototype;
  const everything = ["allocate", "write", "read", "run", "flush"];
  const gpu = kind === "webgpu" ? await dawn() : null;

  if (way === "thread")
    before(device, everything, (_, call, given) => {
      void threads.pop()?.terminate();
      return call(...given);
    });
  else if (way === "lost" && gpu) {
    let newest: GPUDevice | undefined;
    before(gpu.GPUAdapter.prototype, ["requestDevice"], async (_, call, given) => (newest = (await call(...given)) as GPUDevice), () => true); // prettier-ignore
    before(device, everything, (_, call, given) => {
      newest?.destroy();
      return call(...given);
    });
  } else if (way === "lost") {
    const lost = new WeakSet();
    before(device, everything, (one) => {
      lost.add(one);
      throw new DeviceLostError("cpu: the test has taken the device away");
    }, (one) => isStruck() || lost.has(one)); // prettier-ignore
  } else if (way === "memory" && gpu)
    before(gpu.GPUDevice.prototype, ["createBuffer"], (_, call, [wanted]) =>
      call({ ...(wanted as object), size: 2 ** 50 }),
    );
  else if (way === "memory")
    before(device, ["allocate"], (_, call, [dtype, , label]) => call(dtype, 2 ** 40, label));
  else if (way === "kernel" && gpu)
    before(gpu.GPUComputePassEncoder.prototype, ["dispatchWorkgroups"], (_, call) => call(2 ** 30, 1, 1));
  else if (gpu) before(gpu.GPUBuffer.prototype, ["getMappedRange"], noRoom);
  else
    before(device, ["read"], (_, call, given) => {
      // The copy is made in the call itself, before anything else runs.
      Uint8Array.prototype.slice = noRoom; // hides the one that all typed arrays inherit
      try {
        return call(...given);
      } finally {
        Reflect.deleteProperty(Uint8Array.prototype, "slice");
      }
    });
  before(device, ["allocate"], (_, call, given) => call(...given), (one) => !used.add(one as Device)); // prettier-ignore
  // Calls that were prepared count as runs.
  if (kind === "cpu")
    replace(device as unknown as Methods, "prepare", () => function (this: object, call: never) {
      return () => (this as CpuDevice).run(call);
    }); // prettier-ignore

  return {
    get calls() {
      return calls;
    },
    get struck() {
      return struck;
    },
    get liveBuffers() {
      return [...used].reduce((sum, one) => sum + one.stats().liveBuffers, 0);
    },
    [Symbol.dispose]: () =>
      undo
        .splice(0)
        .reverse()
        .forEach((one) => one()),
  };
}

/** As V8 says it. */
function noRoom(): never {
  throw new RangeError("Array buffer allocation failed");
}

/** Dawn's classes, which are globals from then on. */
async function dawn(): Promise<typeof globalThis> {
  const { globals } = await import("webgpu");
  return Object.assign(globalThis, globals);
}

/** Counts the calls that can fail, in each of the ways. The caller disposes of it. */
export async function countCalls(
  kind: Kind,
): Promise<Disposable & { readonly calls: ReadonlyMap<Way, number> }> {
  const planted = new Map<Way, Planted>();
  for (const way of waysOf[kind]) planted.set(way, await plant({ kind, way, at: Infinity }));
  return {
    get calls() {
      return new Map([...planted].map(([way, { calls }]) => [way, calls]));
    },
    [Symbol.dispose]: () => [...planted.values()].reverse().forEach((one) => one[Symbol.dispose]()),
  };
}
