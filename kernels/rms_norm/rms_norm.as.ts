/** RMSNorm on the CPU: rows [begin, end). */
import { hsum, madd } from "../shared/simd.as";

export function rms_norm(
  x: usize, g: usize, y: usize, rstd: usize,
  R: i32, D: i32, eps: f32,
  begin: i32, end: i32, scratch: usize,
): void {
  const vec = D & ~3;
  for (let r = begin; r < end; r++) {
    const row = x + ((<usize>r * D) << 2);
    const out = y + ((<usize>r * D) << 2);
    let acc = f32x4.splat(0);
    for (let d = 0; d < vec; d += 4) {
      const v = v128.load(row + (<usize>d << 2));
      acc = madd(v, v, acc);
    }
    let sum = hsum(acc);
    for (let d = vec; d < D; d++) {
      const v = load<f32>(row + (<usize>d << 2));
      sum += v * v;
    }
    const scale = sum < Infinity ? <f32>1 / sqrt<f32>(sum / <f32>D + eps) : NaN;
    store<f32>(rstd + (<usize>r << 2), scale);
    const s = f32x4.splat(scale);
    for (let d = 0; d < vec; d += 4) {
      const at = <usize>d << 2;
      v128.store(out + at, f32x4.mul(f32x4.mul(v128.load(row + at), s), v128.load(g + at)));
    }
    for (let d = vec; d < D; d++) {
      const at = <usize>d << 2;
      store<f32>(out + at, load<f32>(row + at) * scale * load<f32>(g + at));
    }
  }
}
