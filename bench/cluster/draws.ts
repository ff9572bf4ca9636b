/** Random numbers of a simulation: each stream is a function of the seed and its number alone, so what one worker draws changes no other's. */
import { threefry2x32 } from "../../kernels/shared/threefry.ts";

export class Draws {
  readonly #seed: number;
  readonly #stream: number;
  #counter = 0;

  constructor(seed: number, stream: number) {
    this.#seed = seed;
    this.#stream = stream;
  }

  /** Between 0 and 1, and neither. */
  uniform(): number {
    const [word] = threefry2x32(this.#seed, this.#stream, this.#counter++, 0);
    return (word + 0.5) * 2 ** -32;
  }

  /** The time to the next of events that happen at any moment alike, every `mean` on average. */
  exponential(mean: number): number {
    return -mean * Math.log(this.uniform());
  }

  /** Box & Muller 1958. */
  normal(): number {
    const radius = Math.sqrt(-2 * Math.log(this.uniform()));
    return radius * Math.cos(2 * Math.PI * this.uniform());
  }
}
