/** What every device checks of a call's slots before it runs the kernel. */
import type { KernelCall } from "../device.ts";
import { DeviceError } from "../errors.ts";

/**
 * Throws DeviceError when a slot is missing, or when an output or inout shares its buffer with another slot, in whatever
 * windows. WebGPU cannot bind that; on other devices the result would depend on the order of reading and writing.
 */
export function checkSlots({ kernel, slots }: KernelCall): void {
  for (const slot of kernel.slots) {
    const view = slots[slot.name];
    if (!view) throw new DeviceError(`${kernel.name}: slot ${slot.name} is not given`);
    if (slot.role === "input") continue;
    for (const other of kernel.slots) {
      if (other !== slot && slots[other.name]?.buffer === view.buffer) {
        throw new DeviceError(
          `${kernel.name}: ${slot.role} ${slot.name} shares its buffer with ${other.name}`,
        );
      }
    }
  }
}
