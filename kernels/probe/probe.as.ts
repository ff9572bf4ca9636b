/**
 * The machine's limits as this build can reach them: multiply-adds between registers, and bytes through memory.
 * Benches run these beside the kernels (bench/probe.ts); nothing else does.
 */
import { madd } from "../shared/simd.as";

/** Units of 12 independent chains, each 4 multiply-adds × `turns` long: enough to cover the latency of two FMA units. */
export function probe_fma(out: usize, U: i32, L: i32, turns: i32, begin: i32, end: i32, scratch: usize): void {
  for (let unit = begin; unit < end; unit++) {
    const x = f32x4.splat(0.5);
    const y = f32x4.splat(<f32>unit);
    let c0 = y, c1 = x, c2 = y, c3 = x, c4 = y, c5 = x, c6 = y, c7 = x, c8 = y, c9 = x, ca = y, cb = x;
    for (let i = 0; i < turns; i++) {
      c0 = madd(x, y, c0); c1 = madd(x, y, c1); c2 = madd(x, y, c2); c3 = madd(x, y, c3);
      c4 = madd(x, y, c4); c5 = madd(x, y, c5); c6 = madd(x, y, c6); c7 = madd(x, y, c7);
      c8 = madd(x, y, c8); c9 = madd(x, y, c9); ca = madd(x, y, ca); cb = madd(x, y, cb);
    }
    c0 = f32x4.add(f32x4.add(c0, c1), f32x4.add(c2, c3));
    c4 = f32x4.add(f32x4.add(c4, c5), f32x4.add(c6, c7));
    c8 = f32x4.add(f32x4.add(c8, c9), f32x4.add(ca, cb));
    v128.store(out + (<usize>unit << 4), f32x4.add(f32x4.add(c0, c4), c8));
  }
}

/** Elements in a unit of the two memory probes. */
const SPAN = 65536;

export function probe_copy(x: usize, y: usize, N: i32, begin: i32, end: i32, scratch: usize): void {
  const at = <usize>begin * SPAN << 2;
  const to = min(<usize>end * SPAN, <usize>N) << 2;
  for (let i = at; i < to; i += 64) {
    v128.store(y + i, v128.load(x + i));
    v128.store(y + i, v128.load(x + i, 16), 16);
    v128.store(y + i, v128.load(x + i, 32), 32);
    v128.store(y + i, v128.load(x + i, 48), 48);
  }
}

export function probe_read(x: usize, y: usize, N: i32, U: i32, begin: i32, end: i32, scratch: usize): void {
  for (let unit = begin; unit < end; unit++) {
    const to = x + (min(<usize>(unit + 1) * SPAN, <usize>N) << 2);
    let s0 = f32x4.splat(0), s1 = s0, s2 = s0, s3 = s0;
    for (let i = x + (<usize>unit * SPAN << 2); i < to; i += 64) {
      s0 = f32x4.add(s0, v128.load(i));
      s1 = f32x4.add(s1, v128.load(i, 16));
      s2 = f32x4.add(s2, v128.load(i, 32));
      s3 = f32x4.add(s3, v128.load(i, 48));
    }
    v128.store(y + (<usize>unit << 4), f32x4.add(f32x4.add(s0, s1), f32x4.add(s2, s3)));
  }
}
