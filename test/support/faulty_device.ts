/** Devices with faults: one that refuses an allocation, one that makes every read wait. */
import type { BufferView, Device, DeviceBuffer, KernelCall } from "../../engine/device.ts";
import { DeviceError } from "../../engine/errors.ts";
import type { DType } from "../../kernels/base/dtype.ts";

/** Passes everything on to a real device. */
class Through implements Device {
  protected readonly to: Device;

  constructor(to: Device) {
    this.to = to;
  }

  get info(): Device["info"] {
    return this.to.info;
  }
  get viewAlignment(): number {
    return this.to.viewAlignment;
  }
  allocate(dtype: DType, length: number, label: string): DeviceBuffer {
    return this.to.allocate(dtype, length, label);
  }
  free(buffer: DeviceBuffer): void {
    this.to.free(buffer);
  }
  write(view: BufferView, data: Uint8Array | Float32Array | Int32Array | Uint32Array): void {
    this.to.write(view, data);
  }
  read(view: BufferView): Promise<ArrayBuffer> {
    return this.to.read(view);
  }
  run(call: KernelCall): void {
    this.to.run(call);
  }
  flush(): Promise<void> {
    return this.to.flush();
  }
  stats(): ReturnType<Device["stats"]> {
    return this.to.stats();
  }
  close(): Promise<void> {
    return this.to.close();
  }
  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}

/** Refuses the allocation that `countdown` counts down to. */
export class RefusingDevice extends Through {
  /** 1 = the next allocation is refused; 0 = none is. */
  countdown = 0;

  override allocate(dtype: DType, length: number, label: string): DeviceBuffer {
    if (this.countdown > 0 && --this.countdown === 0) throw new DeviceError(`no room for ${label}`);
    return super.allocate(dtype, length, label);
  }
}

/** Has every read and flush wait for `pause`. */
export class WaitingDevice extends Through {
  readonly #pause: () => Promise<void>;

  constructor(to: Device, pause: () => Promise<void>) {
    super(to);
    this.#pause = pause;
  }

  override async read(view: BufferView): Promise<ArrayBuffer> {
    await this.#pause();
    return super.read(view);
  }
  override async flush(): Promise<void> {
    await this.#pause();
    return super.flush();
  }
}
