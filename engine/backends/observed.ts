/** A device that says when it works, so that progress can be shown during a long chunk. */
import type { Device, KernelCall } from "../device.ts";

/** The same device; `onWork` is called before each kernel. */
export function observed(device: Device, onWork: (call: KernelCall) => void): Device {
  return {
    info: device.info,
    viewAlignment: device.viewAlignment,
    ...(device.share && { share: device.share }),
    allocate: (dtype, length, label) => device.allocate(dtype, length, label),
    free: (buffer) => device.free(buffer),
    write: (view, data) => device.write(view, data),
    read: (view) => device.read(view),
    run: (call) => {
      onWork(call);
      device.run(call);
    },
    prepare: (call) => {
      const run = device.prepare?.(call) ?? (() => device.run(call));
      return () => {
        onWork(call);
        run();
      };
    },
    flush: () => device.flush(),
    stats: () => device.stats(),
    close: () => device.close(),
    [Symbol.asyncDispose]: () => device.close(),
  };
}
