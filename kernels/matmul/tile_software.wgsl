//!use matmul/tile_params.wgsl
//!use matmul/tile_put.wgsl
// The tile for adapters that compute on the CPU (SwiftShader; llvmpipe has tile_subgroup8.wgsl): everything
// in registers, no workgroup memory, no barriers. A lane owns 8 rows × 16 columns of c; a workgroup shares
// its rows. b's columns are contiguous and padded to whole vec4s.
@group(0) @binding(1) var<storage, read> a: array<f32>;
@group(0) @binding(2) var<storage, read> b: array<vec4f>;
@group(0) @binding(3) var<storage, read_write> c: array<f32>;

@compute @workgroup_size(8)
fn main(@builtin(workgroup_id) wid: vec3u, @builtin(local_invocation_index) lane: u32) {
  let row = wid.y * 8u;
  let col = (wid.x * 8u + lane) * 16u;
  if (col >= p.cols) { return; }
  // Rows past the end repeat the last one; they are not stored.
  let last = p.rows - 1u;
  let begin = wid.z * p.depth_step;
  let end = min(begin + p.depth_step, p.depth);
  var i0 = min(row, last) * p.a_row;
  var i1 = min(row + 1u, last) * p.a_row;
  var i2 = min(row + 2u, last) * p.a_row;
  var i3 = min(row + 3u, last) * p.a_row;
  var i4 = min(row + 4u, last) * p.a_row;
  var i5 = min(row + 5u, last) * p.a_row;
  var i6 = min(row + 6u, last) * p.a_row;
  var i7 = min(row + 7u, last) * p.a_row;
  // Columns past the padding repeat the last vec4; they are not stored.
  let pitch = p.b_depth / 4u;
  let right = pitch - 1u;
  var j0 = min(col / 4u, right) + begin * pitch;
  var j1 = min(col / 4u + 1u, right) + begin * pitch;
  var j2 = min(col / 4u + 2u, right) + begin * pitch;
  var j3 = min(col / 4u + 3u, right) + begin * pitch;

  var c00 = vec4f(); var c01 = vec4f(); var c02 = vec4f(); var c03 = vec4f();
  var c10 = vec4f(); var c11 = vec4f(); var c12 = vec4f(); var c13 = vec4f();
  var c20 = vec4f(); var c21 = vec4f(); var c22 = vec4f(); var c23 = vec4f();
  var c30 = vec4f(); var c31 = vec4f(); var c32 = vec4f(); var c33 = vec4f();
  var c40 = vec4f(); var c41 = vec4f(); var c42 = vec4f(); var c43 = vec4f();
  var c50 = vec4f(); var c51 = vec4f(); var c52 = vec4f(); var c53 = vec4f();
  var c60 = vec4f(); var c61 = vec4f(); var c62 = vec4f(); var c63 = vec4f();
  var c70 = vec4f(); var c71 = vec4f(); var c72 = vec4f(); var c73 = vec4f();
  for (var i = begin; i < end; i++) {
    let b0 = b[j0]; let b1 = b[j1]; let b2 = b[j2]; let b3 = b[j3];
    j0 += pitch; j1 += pitch; j2 += pitch; j3 += pitch;
    let at = i * p.a_depth;
    let a0 = vec4f(a[i0 + at]);
    c00 = fma(a0, b0, c00); c01 = fma(a0, b1, c01); c02 = fma(a0, b2, c02); c03 = fma(a0, b3, c03);
    let a1 = vec4f(a[i1 + at]);
    c10 = fma(a1, b0, c10); c11 = fma(a1, b1, c11); c12 = fma(a1, b2, c12); c13 = fma(a1, b3, c13);
    let a2 = vec4f(a[i2 + at]);
    c20 = fma(a2, b0, c20); c21 = fma(a2, b1, c21); c22 = fma(a2, b2, c22); c23 = fma(a2, b3, c23);
    let a3 = vec4f(a[i3 + at]);
    c30 = fma(a3, b0, c30); c31 = fma(a3, b1, c31); c32 = fma(a3, b2, c32); c33 = fma(a3, b3, c33);
    let a4 = vec4f(a[i4 + at]);
    c40 = fma(a4, b0, c40); c41 = fma(a4, b1, c41); c42 = fma(a4, b2, c42); c43 = fma(a4, b3, c43);
    let a5 = vec4f(a[i5 + at]);
    c50 = fma(a5, b0, c50); c51 = fma(a5, b1, c51); c52 = fma(a5, b2, c52); c53 = fma(a5, b3, c53);
    let a6 = vec4f(a[i6 + at]);
    c60 = fma(a6, b0, c60); c61 = fma(a6, b1, c61); c62 = fma(a6, b2, c62); c63 = fma(a6, b3, c63);
    let a7 = vec4f(a[i7 + at]);
    c70 = fma(a7, b0, c70); c71 = fma(a7, b1, c71); c72 = fma(a7, b2, c72); c73 = fma(a7, b3, c73);
  }
  // A loop, not 128 stores in a row: those take long to compile.
  let sums = array<vec4f, 32>(
    c00, c01, c02, c03, c10, c11, c12, c13,
    c20, c21, c22, c23, c30, c31, c32, c33,
    c40, c41, c42, c43, c50, c51, c52, c53,
    c60, c61, c62, c63, c70, c71, c72, c73,
  );
  let c_row = select(p.c_row, p.cols, PARTIAL);
  let at = row * c_row + col + select(p.c_from, wid.z * p.rows * p.cols, PARTIAL);
  let rows = min(8u, p.rows - row);
  for (var i = 0u; i < 4u * rows; i++) {
    let across = i % 4u * 4u;
    put4(at + i / 4u * c_row + across, col + across, sums[i]);
  }
}
