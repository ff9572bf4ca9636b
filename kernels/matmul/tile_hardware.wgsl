//!use matmul/tile_params.wgsl
// The tile for GPUs: SIDE × SIDE threads compute 4 × 4 outputs each, SIDE of the depth staged in workgroup
// memory at a time. Rows of the staged tiles are an odd number of vec4s apart, so that a store along the
// depth meets no bank twice.
@group(0) @binding(1) var<storage, read> a: array<f32>;
@group(0) @binding(2) var<storage, read> b: array<f32>;
@group(0) @binding(3) var<storage, read_write> c: array<f32>;

override ACCUMULATE: bool = false;
/// Write plain partial sums, one [rows, cols] after the other, for reduce_splits.wgsl.
override PARTIAL: bool = false;
/// Neighbouring threads read along the rows of a (columns of b), not along the depth: whichever stride is 1.
override A_BY_ROW: bool = false;
override B_BY_COL: bool = false;

override SIDE: u32 = 16;
override PITCH = SIDE + 1u;
override STAGED = SIDE * PITCH;
var<workgroup> a_tile: array<vec4f, STAGED>; // [SIDE of the depth][SIDE × 4 rows]
var<workgroup> b_tile: array<vec4f, STAGED>;

fn a_at(row: u32, i: u32, end: u32) -> f32 {
  if (row >= p.rows || i >= end) { return 0.0; }
  return a[row * p.a_row + i * p.a_depth];
}

fn b_at(col: u32, i: u32, end: u32) -> f32 {
  if (col >= p.cols || i >= end) { return 0.0; }
  return b[col * p.b_col + i * p.b_depth];
}

fn a_at4(row: u32, i: u32, end: u32) -> vec4f {
  return vec4f(a_at(row, i, end), a_at(row + 1u, i, end), a_at(row + 2u, i, end), a_at(row + 3u, i, end));
}

fn b_at4(col: u32, i: u32, end: u32) -> vec4f {
  return vec4f(b_at(col, i, end), b_at(col + 1u, i, end), b_at(col + 2u, i, end), b_at(col + 3u, i, end));
}

fn put(slice: u32, row: u32, col: u32, value: f32) {
  if (row >= p.rows || col >= p.cols) { return; }
  if (PARTIAL) {
    c[(slice * p.rows + row) * p.cols + col] = value;
    return;
  }
  let at = row * p.c_row + p.c_from + col;
  if (ACCUMULATE) { c[at] += p.alpha * value; } else { c[at] = p.alpha * value; }
}

fn put4(slice: u32, row: u32, col: u32, value: vec4f) {
  put(slice, row, col, value.x);
  put(slice, row, col + 1u, value.y);
  put(slice, row, col + 2u, value.z);
  put(slice, row, col + 3u, value.w);
}

@compute @workgroup_size(SIDE, SIDE)
fn main(@builtin(workgroup_id) wid: vec3u, @builtin(local_invocation_id) thread: vec3u) {
  let row0 = wid.y * 4u * SIDE;
  let col0 = wid.x * 4u * SIDE;
  let low = thread.x;
  let high = thread.y;
  let a_i = select(low, high, A_BY_ROW);
  let a_4 = select(high, low, A_BY_ROW);
  let b_i = select(low, high, B_BY_COL);
  let b_4 = select(high, low, B_BY_COL);
  let a_row = row0 + 4u * a_4;
  let b_col = col0 + 4u * b_4;

  var c0 = vec4f();
  var c1 = vec4f();
  var c2 = vec4f();
  var c3 = vec4f();
  let begin = wid.z * p.depth_step;
  let end = min(begin + p.depth_step, p.depth);
  for (var i0 = begin; i0 < end; i0 += SIDE) {
    let ai = i0 + a_i;
    let bi = i0 + b_i;
    let av = a_at4(a_row, ai, end);
    let bv = b_at4(b_col, bi, end);
    workgroupBarrier(); // the last round's reads are over
    a_tile[a_i * PITCH + a_4] = av;
    b_tile[b_i * PITCH + b_4] = bv;
    workgroupBarrier();
    for (var i = 0u; i < SIDE; i++) {
      let x = a_tile[i * PITCH + high];
      let y = b_tile[i * PITCH + low];
      c0 = fma(vec4f(x.x), y, c0);
      c1 = fma(vec4f(x.y), y, c1);
      c2 = fma(vec4f(x.z), y, c2);
      c3 = fma(vec4f(x.w), y, c3);
    }
  }
  let row = row0 + 4u * high;
  let col = col0 + 4u * low;
  put4(wid.z, row, col, c0);
  put4(wid.z, row + 1u, col, c1);
  put4(wid.z, row + 2u, col, c2);
  put4(wid.z, row + 3u, col, c3);
}
