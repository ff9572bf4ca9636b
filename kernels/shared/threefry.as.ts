/**
 * Threefry-2x32, 20 rounds: Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3" (Random123). The same bits
 * as threefry.ts; four counters at a time.
 */
import { PARITY } from "./parity.both";

// @ts-ignore: decorator
@inline
function rotate(v: v128, by: i32): v128 {
  return v128.or(i32x4.shl(v, by), i32x4.shr_u(v, 32 - by));
}

/** The eight words of counters (pair … pair + 3, step), in the order of the stream, stored at `out`. */
// @ts-ignore: decorator
@inline
export function threefry8(key0: u32, key1: u32, pair: u32, step: u32, out: usize): void {
  const key2 = PARITY ^ key0 ^ key1;
  let a = i32x4.add(i32x4.splat(pair + key0), i32x4(0, 1, 2, 3));
  let b = i32x4.splat(step + key1);
  let k0 = key0, k1 = key1, k2 = key2;
  for (let turn = 1; turn <= 5; turn++) {
    // rounds come in fours, with two sets of rotations in turn; a key word goes in after each four
    const odd = turn & 1;
    a = i32x4.add(a, b);
    b = v128.xor(rotate(b, select(13, 17, odd)), a);
    a = i32x4.add(a, b);
    b = v128.xor(rotate(b, select(15, 29, odd)), a);
    a = i32x4.add(a, b);
    b = v128.xor(rotate(b, select(26, 16, odd)), a);
    a = i32x4.add(a, b);
    b = v128.xor(rotate(b, select(6, 24, odd)), a);
    const first = k0;
    k0 = k1;
    k1 = k2;
    k2 = first;
    a = i32x4.add(a, i32x4.splat(k0));
    b = i32x4.add(b, i32x4.splat(k1 + turn));
  }
  v128.store(out, i8x16.shuffle(a, b, 0, 1, 2, 3, 16, 17, 18, 19, 4, 5, 6, 7, 20, 21, 22, 23));
  v128.store(out, i8x16.shuffle(a, b, 8, 9, 10, 11, 24, 25, 26, 27, 12, 13, 14, 15, 28, 29, 30, 31), 16);
}

/** Both words of one counter: the first in the low half. */
export function threefry2(key0: u32, key1: u32, pair: u32, step: u32): u64 {
  let k0 = key0, k1 = key1, k2 = PARITY ^ key0 ^ key1;
  let a = pair + k0;
  let b = step + k1;
  for (let turn: u32 = 1; turn <= 5; turn++) {
    const odd = turn & 1;
    a += b;
    b = rotl<u32>(b, select<u32>(13, 17, odd)) ^ a;
    a += b;
    b = rotl<u32>(b, select<u32>(15, 29, odd)) ^ a;
    a += b;
    b = rotl<u32>(b, select<u32>(26, 16, odd)) ^ a;
    a += b;
    b = rotl<u32>(b, select<u32>(6, 24, odd)) ^ a;
    const first = k0;
    k0 = k1;
    k1 = k2;
    k2 = first;
    a += k0;
    b += k1 + turn;
  }
  return <u64>a | (<u64>b << 32);
}
