// What the attention tiles share. 64 threads compute 32 × 32 numbers, 4 × 4 each: rows 4 · ty + …, columns
// 4 · tx + …. Operands are staged in workgroup memory 32 of the depth at a time, each step of the depth as
// vec4s of 4 neighbouring rows (columns). What the head size leaves of the last strip is zero.
const SIDE = 32u;
const THREADS = 64u;
const PITCH = 9u; // vec4s from one step of the depth to the next: no two threads on one bank
const STAGED = SIDE * PITCH;
/// The strips of 32 that hold the head size E, so that a thread's sums are registers.
override STRIPS: u32 = 2;
const MOST_STRIPS = 8u;

/// Left sides: what is staged, and behind it, from WEIGHTS on, what the scores become for the second product.
var<workgroup> left: array<vec4f, 2u * STAGED>;
var<workgroup> right: array<vec4f, STAGED>;
const WEIGHTS = STAGED;

/// Whether step `i` of a strip is a column of E.
fn inside(strip: u32, i: u32) -> bool { return strip * SIDE + i < p.E; }

/// sum + a left side, which begins at `side`, · right, of this thread's numbers: a row in each column of the matrix.
fn add_products(sum: mat4x4f, side: u32, ty: u32, tx: u32) -> mat4x4f {
  var r0 = sum[0];
  var r1 = sum[1];
  var r2 = sum[2];
  var r3 = sum[3];
  for (var i = 0u; i < STAGED; i += PITCH) {
    let x = left[side + i + ty];
    let y = right[i + tx];
    r0 = fma(vec4f(x.x), y, r0);
    r1 = fma(vec4f(x.y), y, r1);
    r2 = fma(vec4f(x.z), y, r2);
    r3 = fma(vec4f(x.w), y, r3);
  }
  return mat4x4f(r0, r1, r2, r3);
}

/// Numbers of 4 rows and 4 columns as weights whose depth is the columns.
fn weigh_columns(x: mat4x4f, ty: u32, tx: u32) {
  let by_column = transpose(x);
  for (var i = 0u; i < 4u; i++) { left[WEIGHTS + (4u * tx + i) * PITCH + ty] = by_column[i]; }
}

/// As weights whose depth is the rows.
fn weigh_rows(x: mat4x4f, ty: u32, tx: u32) {
  for (var i = 0u; i < 4u; i++) { left[WEIGHTS + (4u * ty + i) * PITCH + tx] = x[i]; }
}
