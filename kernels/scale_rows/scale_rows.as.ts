/** One factor a row, on the CPU: rows [begin, end). */
export function scale_rows(
  x: usize, s: usize, y: usize,
  R: i32, D: i32,
  begin: i32, end: i32, scratch: usize,
): void {
  const bytes = <usize>D << 2;
  const vec = bytes & ~15;
  for (let r = begin; r < end; r++) {
    const from = x + <usize>r * bytes;
    const to = y + <usize>r * bytes;
    const factor = load<f32>(s + (<usize>r << 2));
    const factor4 = f32x4.splat(factor);
    let at: usize = 0;
    for (; at < vec; at += 16) v128.store(to + at, f32x4.mul(v128.load(from + at), factor4));
    for (; at < bytes; at += 4) store<f32>(to + at, load<f32>(from + at) * factor);
  }
}
