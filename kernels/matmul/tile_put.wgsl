// How the tiles of adapters that compute on the CPU write their sums to c, declared by the tile.
override ACCUMULATE: bool = false;
/// Write plain partial sums, one [rows, cols] after the other, for reduce_splits.wgsl.
override PARTIAL: bool = false;

fn put(at: u32, col: u32, value: f32) {
  if (col >= p.cols) { return; }
  if (PARTIAL) { c[at] = value; } else if (ACCUMULATE) { c[at] += p.alpha * value; } else { c[at] = p.alpha * value; }
}

fn put4(at: u32, col: u32, value: vec4f) {
  put(at, col, value.x);
  put(at + 1u, col + 1u, value.y);
  put(at + 2u, col + 2u, value.z);
  put(at + 3u, col + 3u, value.w);
}
