/** The gradients of RMSNorm on the CPU. */
import { hsum, madd } from "../shared/simd.as";
import { COLUMNS } from "./columns.both";

/** Rows [begin, end). */
export function rms_norm_backward_x(
  dy: usize, x: usize, g: usize, rstd: usize, dx: usize,
  R: i32, D: i32,
  begin: i32, end: i32, scratch: usize,
): void {
  const bytes = <usize>D << 2;
  const vec = bytes & ~15;
  for (let r = begin; r < end; r++) {
    const a = dy + <usize>r * bytes;
    const b = x + <usize>r * bytes;
    const out = dx + <usize>r * bytes;
    let acc = f32x4.splat(0);
    for (let at: usize = 0; at < vec; at += 16) {
      acc = madd(f32x4.mul(v128.load(g + at), v128.load(a + at)), v128.load(b + at), acc);
    }
    let dot = hsum(acc);
    for (let at = vec; at < bytes; at += 4) dot += load<f32>(g + at) * load<f32>(a + at) * load<f32>(b + at);
    const scale = load<f32>(rstd + (<usize>r << 2));
    const back = scale * scale * dot / <f32>D;
    const scale4 = f32x4.splat(scale);
    const back4 = f32x4.splat(-back);
    for (let at: usize = 0; at < vec; at += 16) {
      const direct = f32x4.mul(v128.load(g + at), v128.load(a + at));
      v128.store(out + at, f32x4.mul(scale4, madd(v128.load(b + at), back4, direct)));
    }
    for (let at = vec; at < bytes; at += 4) {
      store<f32>(out + at, scale * (load<f32>(g + at) * load<f32>(a + at) - load<f32>(b + at) * back));
    }
  }
}

/** Columns [begin · COLUMNS, end · COLUMNS); rows are added in order. */
export function rms_norm_backward_g(
  dy: usize, x: usize, rstd: usize, dg: usize,
  R: i32, D: i32,
  begin: i32, end: i32, scratch: usize,
): void {
  const stride = <usize>D << 2;
  const last = min(end * COLUMNS, D);
  let d = begin * COLUMNS;
  for (; d + 4 <= last; d += 4) {
    let at = <usize>d << 2;
    let acc = f32x4.splat(0);
    for (let r = 0; r < R; r++) {
      const scaled = f32x4.mul(v128.load(x + at), v128.load32_splat(rstd + (<usize>r << 2)));
      acc = madd(v128.load(dy + at), scaled, acc);
      at += stride;
    }
    v128.store(dg + (<usize>d << 2), acc);
  }
  for (; d < last; d++) {
    let at = <usize>d << 2;
    let sum: f32 = 0;
    for (let r = 0; r < R; r++) {
      sum += load<f32>(dy + at) * load<f32>(x + at) * load<f32>(rstd + (<usize>r << 2));
      at += stride;
    }
    store<f32>(dg + (<usize>d << 2), sum);
  }
}
