/** The lowest index of a row's largest value, on the CPU: rows [begin, end). First the value and whether there is a NaN, then where it is. */
import { hmax } from "../shared/simd.as";

export function argmax(
  logits: usize, index: usize,
  R: i32, V: i32,
  begin: i32, end: i32, scratch: usize,
): void {
  for (let r = begin; r < end; r++) {
    const row = logits + ((<usize>r * V) << 2);
    const stop = row + (<usize>V << 2);
    let at = row;
    let a = f32x4.splat(-f32.MAX_VALUE), b = a, c = a, d = a;
    let odd = i32x4.splat(0); // ones where a NaN was: pmax passes them over
    for (; at + 64 <= stop; at += 64) {
      const w = v128.load(at), x = v128.load(at, 16), y = v128.load(at, 32), z = v128.load(at, 48);
      a = f32x4.pmax(a, w);
      b = f32x4.pmax(b, x);
      c = f32x4.pmax(c, y);
      d = f32x4.pmax(d, z);
      odd = v128.or(odd, v128.or(v128.or(f32x4.ne(w, w), f32x4.ne(x, x)), v128.or(f32x4.ne(y, y), f32x4.ne(z, z))));
    }
    let top = hmax(f32x4.pmax(f32x4.pmax(a, b), f32x4.pmax(c, d)));
    for (; at < stop; at += 4) top = max(top, load<f32>(at));

    const top4 = f32x4.splat(top);
    at = row;
    while (at + 16 <= stop && !v128.any_true(f32x4.eq(v128.load(at), top4))) at += 16;
    while (at < stop && load<f32>(at) != top) at += 4;
    const sound = !v128.any_true(odd) && isFinite<f32>(top) && at < stop; // of a row of −∞, top is nowhere
    store<i32>(index + (<usize>r << 2), sound ? <i32>((at - row) >> 2) : -1);
  }
}
