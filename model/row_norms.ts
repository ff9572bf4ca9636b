/**
 * How large a matrix's rows are: what a layer makes of inputs of size 1. Found while its bytes go by, from a sample of its elements,
 * so that it costs little beside loading them, and is the same number on every device.
 */
import { type WeightDType, formats, widen } from "../kernels/formats/index.ts";

/** Elements of a sample, roughly: its error is about a percent. */
const SAMPLE = 2 ** 14;

export class RowNorms {
  readonly #dtype: WeightDType;
  readonly #width: number;
  /** Elements that are widened together: whole blocks within a row. */
  readonly #run: number;
  /** Every how many runs one is taken; it shares no factor with the runs of a row, so that all columns have their turn. */
  readonly #stride: number;
  #sum = 0;
  #count = 0;

  /** Of a matrix [out, in] in a storage format. */
  constructor(dtype: WeightDType, [out, width]: readonly [out: number, width: number]) {
    this.#dtype = dtype;
    this.#width = width;
    this.#run = Math.max(formats[dtype].block, commonDivisor(256, width));
    let stride = Math.max(1, Math.floor((out * width) / SAMPLE));
    while (commonDivisor(stride, width / this.#run) > 1) stride++;
    this.#stride = stride;
  }

  /** `bytes` hold the elements from number `start` on. Runs that they hold in part are passed over. */
  add(start: number, bytes: Uint8Array): void {
    const { block, bytes: size } = formats[this.#dtype];
    const end = start + (bytes.length / size) * block;
    const step = this.#run * this.#stride;
    for (let from = Math.ceil(start / step) * step; from + this.#run <= end; from += step) {
      const first = ((from - start) / block) * size;
      const run = widen(this.#dtype, bytes.subarray(first, first + (this.#run / block) * size));
      for (const x of run) this.#sum += x * x;
      this.#count += run.length;
    }
  }

  /** The root of the mean of the rows' squared norms; 1 where nothing was added, or all of it is 0. */
  get mean(): number {
    return Math.sqrt((this.#width * this.#sum) / this.#count) || 1;
  }
}

function commonDivisor(a: number, b: number): number {
  return b === 0 ? a : commonDivisor(b, a % b);
}
