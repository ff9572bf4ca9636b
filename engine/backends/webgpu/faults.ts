/**
 * Collects errors of the GPU: WebGPU reports them through promises and events, long after the call that caused them. They are
 * kept here, and the next flush or read throws them.
 */
import { DeviceError, DeviceLostError } from "../../errors.ts";

export class Faults {
  readonly #device: GPUDevice;
  #messages: string[] = [];
  #checks = new Set<Promise<void>>();
  #lost: string | undefined;
  #closing = false;

  constructor(device: GPUDevice) {
    this.#device = device;
    device.addEventListener("uncapturederror", (event) => {
      event.preventDefault(); // or Dawn prints it as well
      this.add(event.error.message);
    });
    void device.lost.then(({ reason, message }) => {
      if (!this.#closing) this.#lost = `the WebGPU device was lost (${reason}): ${message}`;
    });
  }

  add(message: string): void {
    this.#messages.push(message.trim());
  }

  /**
   * Returns what `make` makes on the device. An error of these kinds is reported later: then `describe` is called, which writes
   * the message (it may ask the device for details) and removes what was made from any list.
   */
  guard<T>(
    kinds: readonly GPUErrorFilter[],
    make: () => T,
    describe: (message: string) => string | Promise<string>,
  ): T {
    for (const kind of kinds) this.#device.pushErrorScope(kind);
    try {
      return make();
    } finally {
      for (const _ of kinds) this.#watch(this.#device.popErrorScope(), describe);
    }
  }

  /** Keeps a check whose result comes later. */
  #watch(scope: Promise<GPUError | null>, describe: (message: string) => string | Promise<string>): void {
    const check = scope.then(
      async (error) => {
        if (error) this.add(await describe(error.message));
      },
      (reason: unknown) => this.add(String(reason)), // the device was lost meanwhile, which `settle` throws first
    );
    this.#checks.add(check);
    void check.then(() => this.#checks.delete(check));
  }

  /** Throws when the device is gone; everything else waits for `settle`. */
  assertAlive(): void {
    if (this.#lost !== undefined) throw new DeviceLostError(this.#lost);
    if (this.#closing) throw new DeviceError("the WebGPU device is closed");
  }

  /** Waits for the unfinished checks, then throws the errors that they and the events reported. */
  async settle(): Promise<void> {
    await Promise.all(this.#checks);
    if (this.#lost !== undefined) throw new DeviceLostError(this.#lost);
    if (this.#messages.length === 0) return;
    const messages = [...new Set(this.#messages)];
    this.#messages = [];
    // One invalid shader makes its pipeline, the pass, the encoder and the submit invalid: report the cause alone.
    const causes = messages.filter(
      (message) => !message.includes("due to a previous error") && !message.startsWith("[Invalid "),
    );
    throw new DeviceError((causes.length > 0 ? causes : messages).join("\n"));
  }

  /** The device is about to be destroyed on purpose. */
  close(): void {
    this.#closing = true;
  }
}
