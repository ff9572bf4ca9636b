/**
 * Formats that store elements one by one. A format describes its elements by a class E without fields, whose methods are
 * compiled into each place where they are called:
 *   bytes          how many an element takes
 *   bits, rebias   vectors that load4 needs, by way of memory at `at` (`pinned`)
 *   load4          the four elements at `at` as f32
 *   load1          the element at `at` as f32
 */
import { hsum, madd, putSum } from "../shared/simd.as";

/** See build/formats.as.ts. */
export function widenRow<E>(base: usize, element: usize, count: i32, out: usize, scratch: usize): void {
  const e = changetype<E>(0);
  let at = base + element * e.bytes;
  const end = out + (<usize>count << 2);
  const vec = out + (<usize>(count & ~3) << 2);
  if (out < vec) {
    const bits = e.bits(scratch);
    const rebias = e.rebias(scratch);
    for (; out < vec; out += 16, at += 4 * e.bytes) v128.store(out, e.load4(at, bits, rebias));
  }
  for (; out < end; out += 4, at += e.bytes) store<f32>(out, e.load1(at));
}

/** See build/formats.as.ts. */
export function widenLines<E>(
  base: usize, element: usize, stride: usize, lines: i32, out: usize, near: usize, far: usize, step: usize, scratch: usize,
): void {
  const e = changetype<E>(0);
  const at = base + element * e.bytes;
  spread<E>(at, stride, lines, out, near, step, scratch);
  spread<E>(at + 16 * e.bytes, stride, lines, out + far, near, step, scratch);
}

/** Widens 16 columns of `lines` rows into groups of eight, `near` bytes apart. */
function spread<E>(at: usize, stride: usize, lines: i32, out: usize, near: usize, step: usize, scratch: usize): void {
  const e = changetype<E>(0);
  const end = out + <usize>lines * step;
  const bits = e.bits(scratch);
  const rebias = e.rebias(scratch);
  for (; out < end; out += step, at += stride * e.bytes) {
    v128.store(out, e.load4(at, bits, rebias));
    v128.store(out, e.load4(at + 4 * e.bytes, bits, rebias), 16);
    v128.store(out + near, e.load4(at + 8 * e.bytes, bits, rebias));
    v128.store(out + near, e.load4(at + 12 * e.bytes, bits, rebias), 16);
  }
}

/** See build/formats.as.ts. */
export function dotRows<E>(
  a: usize, w: usize, c: usize, n: i32, last: i32, K: i32,
  alpha: f32, accumulate: boolean, scratch: usize,
): void {
  const row = <usize>K * changetype<E>(0).bytes;
  for (; n < last; n++) putSum(c + (<usize>n << 2), alpha * dot<E>(a, w + <usize>n * row, K, scratch), accumulate);
}

/** The row at `at`, K long, dotted with a. */
function dot<E>(a: usize, at: usize, K: i32, scratch: usize): f32 {
  const e = changetype<E>(0);
  const vec = a + (<usize>(K & ~15) << 2);
  const end = a + (<usize>K << 2);
  let s0 = f32x4.splat(0), s1 = s0, s2 = s0, s3 = s0;
  let tail: f32 = 0;
  const bits = e.bits(scratch);
  const rebias = e.rebias(scratch);
  for (; a < vec; a += 64, at += 16 * e.bytes) {
    s0 = madd(v128.load(a), e.load4(at, bits, rebias), s0);
    s1 = madd(v128.load(a, 16), e.load4(at + 4 * e.bytes, bits, rebias), s1);
    s2 = madd(v128.load(a, 32), e.load4(at + 8 * e.bytes, bits, rebias), s2);
    s3 = madd(v128.load(a, 48), e.load4(at + 12 * e.bytes, bits, rebias), s3);
  }
  for (; a < end; a += 4, at += e.bytes) tail += load<f32>(a) * e.load1(at);
  return tail + hsum(f32x4.add(f32x4.add(s0, s1), f32x4.add(s2, s3)));
}
