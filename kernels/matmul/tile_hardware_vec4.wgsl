//!use matmul/tile_params.wgsl
// A tile for GPUs that does more per byte: X × Y threads compute 8 × 8 outputs each, STEP of the depth staged
// in workgroup memory at a time, and all traffic is in vec4s. A value from workgroup memory serves 8 products
// instead of 4, at the price of registers and of fewer threads at a time. A thread's 8 rows (columns) are two
// runs of 4, half a tile apart: neighbouring threads then read neighbouring vec4s, and no bank twice. Strides
// and c's columns are multiples of 4, and so is the depth where it is what lies together.
@group(0) @binding(1) var<storage, read> a: array<vec4f>;
@group(0) @binding(2) var<storage, read> b: array<vec4f>;
@group(0) @binding(3) var<storage, read_write> c: array<vec4f>;

override ACCUMULATE: bool = false;
/// Write plain partial sums, one [rows, cols] after the other, for reduce_splits.wgsl.
override PARTIAL: bool = false;
/// a's rows (b's columns) lie together, not what is along the depth.
override A_BY_ROW: bool = false;
override B_BY_COL: bool = false;
override X: u32 = 8;
override Y: u32 = 8;
override STEP: u32 = 16;

override A_PITCH = 2u * Y + 1u;
override B_PITCH = 2u * X + 1u;
override A_STAGED = STEP * A_PITCH;
override B_STAGED = STEP * B_PITCH;
var<workgroup> a_tile: array<vec4f, A_STAGED>; // [STEP of the depth][8 · Y rows]
var<workgroup> b_tile: array<vec4f, B_STAGED>;

/// A square of a, a vec4 of rows for each of 4 steps of the depth.
fn a_square(row: u32, i: u32, end: u32) -> mat4x4f {
  var square = mat4x4f();
  if (A_BY_ROW) {
    if (row < p.rows) {
      if (i < end) { square[0] = a[(i * p.a_depth + row) / 4u]; }
      if (i + 1u < end) { square[1] = a[((i + 1u) * p.a_depth + row) / 4u]; }
      if (i + 2u < end) { square[2] = a[((i + 2u) * p.a_depth + row) / 4u]; }
      if (i + 3u < end) { square[3] = a[((i + 3u) * p.a_depth + row) / 4u]; }
    }
    return square;
  }
  if (i < end) {
    if (row < p.rows) { square[0] = a[(row * p.a_row + i) / 4u]; }
    if (row + 1u < p.rows) { square[1] = a[((row + 1u) * p.a_row + i) / 4u]; }
    if (row + 2u < p.rows) { square[2] = a[((row + 2u) * p.a_row + i) / 4u]; }
    if (row + 3u < p.rows) { square[3] = a[((row + 3u) * p.a_row + i) / 4u]; }
  }
  return transpose(square);
}

fn b_square(col: u32, i: u32, end: u32) -> mat4x4f {
  var square = mat4x4f();
  if (B_BY_COL) {
    if (col < p.cols) {
      if (i < end) { square[0] = b[(i * p.b_depth + col) / 4u]; }
      if (i + 1u < end) { square[1] = b[((i + 1u) * p.b_depth + col) / 4u]; }
      if (i + 2u < end) { square[2] = b[((i + 2u) * p.b_depth + col) / 4u]; }
      if (i + 3u < end) { square[3] = b[((i + 3u) * p.b_depth + col) / 4u]; }
    }
    return square;
  }
  if (i < end) {
    if (col < p.cols) { square[0] = b[(col * p.b_col + i) / 4u]; }
    if (col + 1u < p.cols) { square[1] = b[((col + 1u) * p.b_col + i) / 4u]; }
    if (col + 2u < p.cols) { square[2] = b[((col + 2u) * p.b_col + i) / 4u]; }
    if (col + 3u < p.cols) { square[3] = b[((col + 3u) * p.b_col + i) / 4u]; }
  }
  return transpose(square);
}

fn put(slice: u32, row: u32, col: u32, value: vec4f) {
  if (row >= p.rows || col >= p.cols) { return; }
  if (PARTIAL) {
    c[((slice * p.rows + row) * p.cols + col) / 4u] = value;
    return;
  }
  let at = (row * p.c_row + p.c_from + col) / 4u;
  if (ACCUMULATE) { c[at] += p.alpha * value; } else { c[at] = p.alpha * value; }
}

fn put4(slice: u32, row: u32, col: u32, r0: vec4f, r1: vec4f, r2: vec4f, r3: vec4f) {
  put(slice, row, col, r0);
  put(slice, row + 1u, col, r1);
  put(slice, row + 2u, col, r2);
  put(slice, row + 3u, col, r3);
}

@compute @workgroup_size(X, Y)
fn main(@builtin(workgroup_id) wid: vec3u, @builtin(local_invocation_id) thread: vec3u,
        @builtin(local_invocation_index) t: u32) {
  let row0 = wid.y * 8u * Y;
  let col0 = wid.x * 8u * X;
  // The first threads stage a, the last ones b, in squares; neighbours take what lies together in memory.
  let threads = X * Y;
  let squares = STEP / 4u;

  var c00 = vec4f(); var c01 = vec4f();
  var c10 = vec4f(); var c11 = vec4f();
  var c20 = vec4f(); var c21 = vec4f();
  var c30 = vec4f(); var c31 = vec4f();
  var c40 = vec4f(); var c41 = vec4f();
  var c50 = vec4f(); var c51 = vec4f();
  var c60 = vec4f(); var c61 = vec4f();
  var c70 = vec4f(); var c71 = vec4f();
  let begin = wid.z * p.depth_step;
  let end = min(begin + p.depth_step, p.depth);
  for (var i0 = begin; i0 < end; i0 += STEP) {
    workgroupBarrier(); // the last round's reads are over
    for (var u = t; u < 2u * Y * squares; u += threads) {
      let q = select(u / squares, u % (2u * Y), A_BY_ROW);
      let i = 4u * select(u % squares, u / (2u * Y), A_BY_ROW);
      let square = a_square(row0 + 4u * q, i0 + i, end);
      a_tile[i * A_PITCH + q] = square[0];
      a_tile[(i + 1u) * A_PITCH + q] = square[1];
      a_tile[(i + 2u) * A_PITCH + q] = square[2];
      a_tile[(i + 3u) * A_PITCH + q] = square[3];
    }
    for (var u = threads - 1u - t; u < 2u * X * squares; u += threads) {
      let q = select(u / squares, u % (2u * X), B_BY_COL);
      let i = 4u * select(u % squares, u / (2u * X), B_BY_COL);
      let square = b_square(col0 + 4u * q, i0 + i, end);
      b_tile[i * B_PITCH + q] = square[0];
      b_tile[(i + 1u) * B_PITCH + q] = square[1];
      b_tile[(i + 2u) * B_PITCH + q] = square[2];
      b_tile[(i + 3u) * B_PITCH + q] = square[3];
    }
    workgroupBarrier();
    for (var i = 0u; i < STEP; i++) {
      let x0 = a_tile[i * A_PITCH + thread.y];
      let x1 = a_tile[i * A_PITCH + Y + thread.y];
      let y0 = b_tile[i * B_PITCH + thread.x];
      let y1 = b_tile[i * B_PITCH + X + thread.x];
      c00 = fma(vec4f(x0.x), y0, c00); c01 = fma(vec4f(x0.x), y1, c01);
      c10 = fma(vec4f(x0.y), y0, c10); c11 = fma(vec4f(x0.y), y1, c11);
      c20 = fma(vec4f(x0.z), y0, c20); c21 = fma(vec4f(x0.z), y1, c21);
      c30 = fma(vec4f(x0.w), y0, c30); c31 = fma(vec4f(x0.w), y1, c31);
      c40 = fma(vec4f(x1.x), y0, c40); c41 = fma(vec4f(x1.x), y1, c41);
      c50 = fma(vec4f(x1.y), y0, c50); c51 = fma(vec4f(x1.y), y1, c51);
      c60 = fma(vec4f(x1.z), y0, c60); c61 = fma(vec4f(x1.z), y1, c61);
      c70 = fma(vec4f(x1.w), y0, c70); c71 = fma(vec4f(x1.w), y1, c71);
    }
  }
  let row = row0 + 4u * thread.y;
  let col = col0 + 4u * thread.x;
  put4(wid.z, row, col, c00, c10, c20, c30);
  put4(wid.z, row, col + 4u * X, c01, c11, c21, c31);
  put4(wid.z, row + 4u * Y, col, c40, c50, c60, c70);
  put4(wid.z, row + 4u * Y, col + 4u * X, c41, c51, c61, c71);
}
