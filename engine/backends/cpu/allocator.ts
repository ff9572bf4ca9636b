/**
 * Memory blocks of one growing address space: best fit over a list of gaps sorted by address, neighbours joined on
 * free, so that memory stops growing in a long run whose sizes recur. Blocks start and end on 64-byte lines.
 */
import { at } from "../../../kernels/base/at.ts";

/** Cache line, and more than any SIMD load needs. */
const LINE = 64;

interface Gap {
  start: number;
  end: number;
}

export class Allocator {
  readonly #gaps: Gap[] = [];
  readonly #sizes = new Map<number, number>();
  readonly #grow: (bytes: number) => number | undefined;
  #end: number;
  #live = 0;
  #peak = 0;

  /**
   * Hands out addresses from `start` on, up to what has been grown. `grow(bytes)` makes at least so many bytes more
   * available at the end and returns how many it made, or undefined when memory cannot grow.
   */
  constructor(start: number, grow: (bytes: number) => number | undefined) {
    this.#end = lines(start);
    this.#grow = grow;
  }

  get liveBlocks(): number {
    return this.#sizes.size;
  }

  get liveBytes(): number {
    return this.#live;
  }

  get peakBytes(): number {
    return this.#peak;
  }

  /** The address of `bytes` bytes, or undefined when memory cannot grow any further. */
  allocate(bytes: number): number | undefined {
    const size = Math.max(lines(bytes), LINE);
    let best = this.#fit(size);
    if (best < 0) {
      const last = this.#gaps.at(-1);
      const open = last?.end === this.#end ? last.end - last.start : 0;
      const made = this.#grow(size - open);
      if (made === undefined) return undefined;
      this.#insert(this.#end, this.#end + made);
      this.#end += made;
      best = this.#fit(size);
    }
    const gap = at(this.#gaps, best);
    const address = gap.start;
    gap.start += size;
    if (gap.start === gap.end) this.#gaps.splice(best, 1);
    this.#sizes.set(address, size);
    this.#live += size;
    this.#peak = Math.max(this.#peak, this.#live);
    return address;
  }

  free(address: number): void {
    const size = this.#sizes.get(address);
    if (size === undefined) throw new RangeError(`no block at ${address}`);
    this.#sizes.delete(address);
    this.#live -= size;
    this.#insert(address, address + size);
  }

  /** Index of the smallest gap that holds `size`, the lowest of equals; −1 if none does. */
  #fit(size: number): number {
    let best = -1;
    let room = Infinity;
    let i = 0;
    for (const { start, end } of this.#gaps) {
      const has = end - start;
      if (has === size) return i;
      if (has > size && has < room) {
        best = i;
        room = has;
      }
      i++;
    }
    return best;
  }

  /** Adds the gap [start, end), joined with the gaps that touch it. */
  #insert(start: number, end: number): void {
    const gaps = this.#gaps;
    let low = 0;
    for (let high = gaps.length; low < high;) {
      const middle = (low + high) >>> 1;
      if (at(gaps, middle).start < start) low = middle + 1;
      else high = middle;
    }
    const before = low > 0 ? gaps[low - 1] : undefined;
    const after = low < gaps.length ? gaps[low] : undefined;
    if (before?.end === start) {
      before.end = end;
      if (after?.start === end) {
        before.end = after.end;
        gaps.splice(low, 1);
      }
    } else if (after?.start === end) {
      after.start = start;
    } else {
      gaps.splice(low, 0, { start, end });
    }
  }
}

function lines(bytes: number): number {
  return Math.ceil(bytes / LINE) * LINE;
}
