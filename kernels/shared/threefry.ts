/**
 * Threefry-2x32, 20 rounds: Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3" (Random123). The same bits
 * as threefry.as.ts and threefry.wgsl; test/golden/threefry.json holds known answers.
 */
import { at } from "../base/at.ts";
import { PARITY } from "./parity.both.ts";

const ROTATIONS = [13, 15, 26, 6, 17, 29, 16, 24] as const;

/** Two random words of a key and a counter, each two words. */
export function threefry2x32(
  key0: number,
  key1: number,
  counter0: number,
  counter1: number,
): [first: number, second: number] {
  const keys = [key0 | 0, key1 | 0, PARITY ^ key0 ^ key1];
  let x0 = (counter0 + key0) | 0;
  let x1 = (counter1 + key1) | 0;
  for (let round = 0; round < 20; round++) {
    const by = at(ROTATIONS, round % 8);
    x0 = (x0 + x1) | 0;
    x1 = ((x1 << by) | (x1 >>> (32 - by))) ^ x0;
    if (round % 4 === 3) {
      const turn = (round + 1) / 4; // a key word goes in after every four rounds
      x0 = (x0 + at(keys, turn % 3)) | 0;
      x1 = (x1 + at(keys, (turn + 1) % 3) + turn) | 0;
    }
  }
  return [x0 >>> 0, x1 >>> 0];
}
