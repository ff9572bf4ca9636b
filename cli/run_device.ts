/**
 * The device of a run, and what becomes of the run when it fails. A device that is lost (its driver was reset, a thread of it has ended)
 * is opened anew, and the run goes on from the newest copy of its state on the host, with the same bits. After any other fault, such as
 * memory that has come to its end, the run ends, and that copy is kept for --resume.
 */
import { statSync } from "node:fs";
import type { Device } from "../engine/device.ts";
import { DeviceError, DeviceLostError } from "../engine/errors.ts";
import { firstError, outOfMemory } from "./errors.ts";
import { bytes } from "./format.ts";
import { numericsOf } from "./identity.ts";
import type { CommonOptions } from "./options.ts";
import type { Terminal } from "./output.ts";
import { openChosenDevice } from "./session.ts";
import type { RunState } from "./state.ts";

/** Losses in a row, with nothing new from the run between them, after which it gives up. */
const MOST_LOSSES = 3;

export class RunDevice implements AsyncDisposable {
  readonly #options: CommonOptions;
  readonly #terminal: Terminal;
  #device: Device;
  #losses = 0;

  private constructor(device: Device, options: CommonOptions, terminal: Terminal) {
    this.#device = device;
    this.#options = options;
    this.#terminal = terminal;
  }

  /** Says on stderr what was chosen and why. */
  static async open(options: CommonOptions, terminal: Terminal): Promise<RunDevice> {
    return new RunDevice(await openChosenDevice(options, terminal), options, terminal);
  }

  /** The device as it is now: another one after a loss. */
  get now(): Device {
    return this.#device;
  }

  /** To be called when the run has brought something that it had not before. */
  progressed(): void {
    this.#losses = 0;
  }

  /** Runs `work`, and whenever the device is lost in it, runs it again on a new one: it is to free what it had, and to begin at the newest copy. */
  async outlive<T>(work: (device: Device) => Promise<T>): Promise<T> {
    for (;;) {
      try {
        return await work(this.#device);
      } catch (thrown) {
        const error = firstError(thrown);
        if (!(error instanceof DeviceLostError)) throw error;
        const [what = ""] = error.message.split(";"); // without the advice that follows
        if (++this.#losses > MOST_LOSSES)
          throw new DeviceLostError(`device lost ${this.#losses} times with no progress between (${what})`);
        await this.#renew(`device lost (${what})`);
      }
    }
  }

  async #renew(lost: string): Promise<void> {
    const [terminal, before] = [this.#terminal, numericsOf(this.#device)];
    terminal.endProgress();
    await this.#device.close().catch(() => undefined); // nothing of it is of use
    try {
      this.#device = await openChosenDevice(this.#options, terminal, true);
    } catch (error) {
      throw new DeviceLostError(`${lost}; it does not open anew: ${(error as Error).message}`);
    }
    if (JSON.stringify(numericsOf(this.#device)) !== JSON.stringify(before))
      throw new DeviceLostError(
        `${lost}; what opens in its place, ${this.#device.info.description}, computes with other last digits`,
      );
    terminal.note(`${lost}: opened anew, the run goes on from the newest copy of its state`);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#device.close();
  }
}

/** Whether memory or a device has failed, of which a run knows nothing: the same run may succeed another time. */
function isFault(error: unknown): boolean {
  return error instanceof DeviceError || outOfMemory(error);
}

/** Runs `work`. Where a device fails in it, the newest copy of the run's state is kept, and a line says so. */
export async function keepingAfterFaults<T>(
  state: Pick<RunState, "keepNewest" | "path">,
  terminal: Terminal,
  work: () => Promise<T>,
): Promise<T> {
  try {
    return await work();
  } catch (thrown) {
    const error = firstError(thrown);
    const notKept = (cause: Error): void => terminal.note(`the state is not saved: ${cause.message}`);
    if (isFault(error) && (await state.keepNewest().catch(notKept))) {
      const { size = 0 } = statSync(state.path, { throwIfNoEntry: false }) ?? {};
      terminal.note(
        `stopped; the same command with --resume goes on from the newest copy of its state (${state.path}, ${bytes(size)}; remove it to forget the run)`,
      );
    }
    throw error;
  }
}
