/** The momentum of SGD and Muon on the CPU: units of 1024 elements. A tail goes through the same four-lane code. */
import { unitBytes } from "../shared/elementwise.as";
import { madd } from "../shared/simd.as";

export function momentum(
  g: usize, norm2: usize, p: usize, m: usize, skipped: usize, u: usize,
  N: i32,
  decay: f32, beta: f32, own: f32, kept: f32, clip: f32,
  begin: i32, end: i32, scratch: usize,
): void {
  const total = load<f32>(norm2);
  let at = unitBytes(begin, N);
  const to = unitBytes(end, N);
  if (!isFinite<f32>(total)) {
    if (begin == 0 && end > 0) store<f32>(skipped, load<f32>(skipped) + 1); // the first unit's owner counts
    memory.fill(u + at, 0, to - at);
    return;
  }
  let s: f32 = 1;
  if (clip > 0) s = min<f32>(1, clip / (sqrt<f32>(total) + <f32>1e-6));
  const scale = f32x4.splat(s);
  for (; at + 16 <= to; at += 16) {
    const clipped = f32x4.mul(scale, v128.load(g + at));
    const mean = madd(f32x4.splat(beta), v128.load(m + at), clipped);
    const value = v128.load(p + at);
    v128.store(m + at, mean);
    v128.store(p + at, madd(f32x4.splat(-decay), value, value));
    v128.store(u + at, madd(f32x4.splat(kept), mean, f32x4.mul(f32x4.splat(own), clipped)));
  }
  for (; at < to; at += 4) {
    const clipped = f32x4.mul(scale, v128.load32_zero(g + at));
    const mean = madd(f32x4.splat(beta), v128.load32_zero(m + at), clipped);
    const value = v128.load32_zero(p + at);
    store<f32>(m + at, f32x4.extract_lane(mean, 0));
    store<f32>(p + at, f32x4.extract_lane(madd(f32x4.splat(-decay), value, value), 0));
    const direction = madd(f32x4.splat(kept), mean, f32x4.mul(f32x4.splat(own), clipped));
    store<f32>(u + at, f32x4.extract_lane(direction, 0));
  }
}
