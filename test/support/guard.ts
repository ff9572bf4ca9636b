/**
 * Guard zones: a slot's buffer is longer than its view on both sides, and the zones hold a sentinel. A kernel that
 * writes outside its view changes it; one that reads outside and uses what it read computes with NaN.
 */
import { type DType, byteLength, dtypes } from "../../kernels/base/dtype.ts";
import type { BufferView, Device, DeviceBuffer } from "../../engine/device.ts";
import { firstDifference } from "./allclose.ts";

/** NaN as f32, and in every second half-word as f16 or bf16. */
const SENTINEL = 0x7fc0dead;
/** Least length of a zone, in elements; odd, so that views on the cpu device are not even aligned to 16 bytes. */
const LEAST_ZONE = 61;

export class GuardedBuffer {
  readonly buffer: DeviceBuffer;
  /** What the kernel gets. */
  readonly view: BufferView;
  readonly #device: Device;
  readonly #all: BufferView;
  readonly #zoneBytes: number;
  #written: Uint8Array;

  constructor(device: Device, dtype: DType, length: number, label: string) {
    const { block, bytes } = dtypes[dtype];
    const alignment = device.viewAlignment * 4;
    let blocks = Math.ceil(LEAST_ZONE / block);
    while ((blocks * bytes) % alignment !== 0) blocks++;
    const zone = blocks * block;
    this.#device = device;
    this.#zoneBytes = blocks * bytes;
    // buffers are whole words on some devices
    const total = 2 * zone + length + ((4 - (byteLength(dtype, length) % 4)) % 4) * (block === 1 ? 1 : 0);
    this.buffer = device.allocate(dtype, total, label);
    this.#all = { buffer: this.buffer, offset: 0, length: total };
    this.view = { buffer: this.buffer, offset: zone, length };
    const size = byteLength(dtype, total);
    this.#written = new Uint8Array(new Uint32Array(Math.ceil(size / 4)).fill(SENTINEL).buffer, 0, size);
  }

  /** Fills the whole buffer: sentinels, with `content` (if any) in the view. */
  fill(content?: Uint8Array): void {
    if (content) {
      this.#written = this.#written.slice();
      this.#written.set(content, this.#zoneBytes);
    }
    this.#device.write(this.#all, this.#written);
  }

  /** The view's bytes. Throws when a zone, or with `readOnly` any byte at all, is not what `fill` wrote. */
  async check(readOnly: boolean): Promise<Uint8Array<ArrayBuffer>> {
    const { dtype, label } = this.buffer;
    const now = new Uint8Array(await this.#device.read(this.#all));
    const end = this.#zoneBytes + byteLength(dtype, this.view.length);
    const parts: [string, number, number][] = [
      ["the guard zone before", 0, this.#zoneBytes],
      ["the guard zone after", end, now.length],
    ];
    if (readOnly) parts.push(["input", this.#zoneBytes, end]);
    for (const [what, from, to] of parts) {
      const at = firstDifference(now.subarray(from, to), this.#written.subarray(from, to));
      if (at < 0) continue;
      const element = Math.floor(((from + at - this.#zoneBytes) / dtypes[dtype].bytes) * dtypes[dtype].block);
      throw new Error(`${what} ${label} was written: element ${element} of ${this.view.length}`);
    }
    return now.slice(this.#zoneBytes, end);
  }

  free(): void {
    this.#device.free(this.buffer);
  }
}
