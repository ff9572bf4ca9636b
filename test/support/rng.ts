/** Seeded test values. Every draw is a function of (seed, label), so cases do not depend on each other or on their order. */
import type { CaseRandom } from "../../kernels/kernel.ts";
import { threefry2x32 } from "../../kernels/shared/threefry.ts";

/** The seed of all generated tests; failures print it. TEMPLORA_TEST_SEED=n tries another. */
export const SEED = Number(process.env.TEMPLORA_TEST_SEED ?? 20240111) >>> 0;

export class TestRandom implements CaseRandom {
  readonly #seed: number;
  readonly #stream: number;
  #counter = 0;
  #spare: number | undefined;

  constructor(seed: number, label: string) {
    this.#seed = seed;
    // FNV-1a
    this.#stream =
      Array.from(label).reduce((h, c) => Math.imul(h ^ c.charCodeAt(0), 0x01000193), 0x811c9dc5) >>> 0;
  }

  /** Two uniform values in (0, 1). */
  #pair(): [number, number] {
    const [a, b] = threefry2x32(this.#seed, this.#stream, this.#counter++, 0);
    return [(a + 0.5) * 2 ** -32, (b + 0.5) * 2 ** -32];
  }

  below(n: number): number {
    return Math.floor(this.#pair()[0] * n);
  }

  /** Box & Muller 1958. */
  normal(): number {
    const spare = this.#spare;
    this.#spare = undefined;
    if (spare !== undefined) return spare;
    const [u, v] = this.#pair();
    const radius = Math.sqrt(-2 * Math.log(u));
    this.#spare = radius * Math.sin(2 * Math.PI * v);
    return radius * Math.cos(2 * Math.PI * v);
  }
}
