/**
 * Rotary embedding on the CPU: tokens [begin, end). Half-split pairs (i, i + R/2) of the first R of a head's E; sign −1 turns back. A position
 * outside the table gives NaN.
 */

/** Turned queries go to y, turned keys and values to the cache's rows from `at` on. */
export function rope_cache(
  q: usize, k: usize, v: usize, positions: usize, table: usize, keys: usize, values: usize, y: usize,
  T: i32, H: i32, E: i32, G: i32, P: i32, R: i32, S: i32, at: u32,
  begin: i32, end: i32, scratch: usize,
): void {
  const row = (<usize>G * E) << 2;
  const to = <usize>at * row;
  rope(q, positions, table, y, T, H, E, P, R, 1, begin, end, scratch);
  rope(k, positions, table, keys + to, T, G, E, P, R, 1, begin, end, scratch);
  memory.copy(values + to + <usize>begin * row, v + <usize>begin * row, <usize>(end - begin) * row);
}

export function rope(
  x: usize, positions: usize, table: usize, y: usize,
  T: i32, H: i32, E: i32, P: i32, R: i32, sign: f32,
  begin: i32, end: i32, scratch: usize,
): void {
  const pairs = <usize>R >> 1;
  const half = pairs << 2;
  const vec = (pairs & ~3) << 2;
  const rest = <usize>(E - R) << 2;
  const sign4 = f32x4.splat(sign);
  for (let t = begin; t < end; t++) {
    const position = load<u32>(positions + (<usize>t << 2)); // below 0, it is far above P
    if (position >= <u32>P) {
      const row = y + ((<usize>t * H * E) << 2);
      for (let i: usize = 0; i < (<usize>H * E) << 2; i += 4) store<f32>(row + i, NaN);
      continue;
    }
    const c = table + <usize>position * (half << 1);
    const s = c + half;
    for (let h = 0; h < H; h++) {
      const at = ((<usize>t * H + h) * E) << 2;
      const a = x + at, b = a + half;
      const ya = y + at, yb = ya + half;
      let i: usize = 0;
      for (; i < vec; i += 16) {
        const c4 = v128.load(c + i);
        const s4 = f32x4.mul(v128.load(s + i), sign4);
        const a4 = v128.load(a + i);
        const b4 = v128.load(b + i);
        v128.store(ya + i, f32x4.sub(f32x4.mul(a4, c4), f32x4.mul(b4, s4)));
        v128.store(yb + i, f32x4.add(f32x4.mul(b4, c4), f32x4.mul(a4, s4)));
      }
      for (; i < half; i += 4) {
        const c1 = load<f32>(c + i);
        const s1 = load<f32>(s + i) * sign;
        const a1 = load<f32>(a + i);
        const b1 = load<f32>(b + i);
        store<f32>(ya + i, a1 * c1 - b1 * s1);
        store<f32>(yb + i, b1 * c1 + a1 * s1);
      }
      if (rest > 0) memory.copy(yb + half, b + half, rest);
    }
  }
}
