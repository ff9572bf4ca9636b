/**
 * The machine's limits as this build can reach them: multiply-adds between registers, and bytes through memory.
 * Benches run these beside the kernels (bench/probe.ts); nothing else does.
 */
import { madd, pinned } from "../shared/simd.as";
import { wide } from "../shared/wide.as";
import { SPAN } from "./span.both";

/** Units of 48 · `turns` multiply-adds, in chains enough to cover the latency of two FMA units; `turns` is even. */
export function probe_fma(out: usize, U: i32, L: i32, turns: i32, begin: i32, end: i32, scratch: usize): void {
  if (wide) pairedChains(out, turns, begin, end);
  else chains(out, turns, begin, end);
}

/** The same between registers of 128 bits, in any build. */
export function probe_fma128(out: usize, U: i32, L: i32, turns: i32, begin: i32, end: i32, scratch: usize): void {
  chains(out, turns, begin, end);
}

/** Twelve chains of four lanes. */
function chains(out: usize, turns: i32, begin: i32, end: i32): void {
  for (let unit = begin; unit < end; unit++) {
    const to = out + (<usize>unit << 5);
    const x = pinned(f32x4.splat(0.5), to);
    const y = pinned(f32x4.splat(<f32>unit), to);
    let c0 = y, c1 = x, c2 = y, c3 = x, c4 = y, c5 = x, c6 = y, c7 = x, c8 = y, c9 = x, ca = y, cb = x;
    for (let i = 0; i < turns; i++) {
      c0 = madd(x, y, c0); c1 = madd(x, y, c1); c2 = madd(x, y, c2); c3 = madd(x, y, c3);
      c4 = madd(x, y, c4); c5 = madd(x, y, c5); c6 = madd(x, y, c6); c7 = madd(x, y, c7);
      c8 = madd(x, y, c8); c9 = madd(x, y, c9); ca = madd(x, y, ca); cb = madd(x, y, cb);
    }
    c0 = f32x4.add(f32x4.add(c0, c1), f32x4.add(c2, c3));
    c4 = f32x4.add(f32x4.add(c4, c5), f32x4.add(c6, c7));
    c8 = f32x4.add(f32x4.add(c8, c9), f32x4.add(ca, cb));
    v128.store(to, f32x4.add(f32x4.add(c0, c4), c8));
  }
}

/** Twelve chains of eight lanes, in half as many turns: what is stored side by side is paired (shared/wide.as.ts). */
function pairedChains(out: usize, turns: i32, begin: i32, end: i32): void {
  for (let unit = begin; unit < end; unit++) {
    const to = out + (<usize>unit << 5);
    const x = pinned(f32x4.splat(0.5), to);
    const y = pinned(f32x4.splat(<f32>unit), to);
    let a0 = y, b0 = x, c0 = y, d0 = x, e0 = y, f0 = x, g0 = y, h0 = x, i0 = y, j0 = x, k0 = y, l0 = x;
    let a1 = y, b1 = x, c1 = y, d1 = x, e1 = y, f1 = x, g1 = y, h1 = x, i1 = y, j1 = x, k1 = y, l1 = x;
    for (let i = 0; i < turns; i += 2) {
      a0 = madd(x, y, a0); a1 = madd(x, y, a1); b0 = madd(x, y, b0); b1 = madd(x, y, b1);
      c0 = madd(x, y, c0); c1 = madd(x, y, c1); d0 = madd(x, y, d0); d1 = madd(x, y, d1);
      e0 = madd(x, y, e0); e1 = madd(x, y, e1); f0 = madd(x, y, f0); f1 = madd(x, y, f1);
      g0 = madd(x, y, g0); g1 = madd(x, y, g1); h0 = madd(x, y, h0); h1 = madd(x, y, h1);
      i0 = madd(x, y, i0); i1 = madd(x, y, i1); j0 = madd(x, y, j0); j1 = madd(x, y, j1);
      k0 = madd(x, y, k0); k1 = madd(x, y, k1); l0 = madd(x, y, l0); l1 = madd(x, y, l1);
    }
    const low = f32x4.add(
      f32x4.add(f32x4.add(f32x4.add(a0, b0), f32x4.add(c0, d0)), f32x4.add(f32x4.add(e0, f0), f32x4.add(g0, h0))),
      f32x4.add(f32x4.add(i0, j0), f32x4.add(k0, l0)),
    );
    const high = f32x4.add(
      f32x4.add(f32x4.add(f32x4.add(a1, b1), f32x4.add(c1, d1)), f32x4.add(f32x4.add(e1, f1), f32x4.add(g1, h1))),
      f32x4.add(f32x4.add(i1, j1), f32x4.add(k1, l1)),
    );
    v128.store(to, low);
    v128.store(to, high, 16);
  }
}

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
