enable subgroups;
//!use matmul/tile_params.wgsl
//!use matmul/tile_put.wgsl
// The tile for llvmpipe and its like (subgroups of 8 lanes, each a SIMD lane of the CPU). There, a load
// costs a dozen instructions per lane, however uniform its address, and a product one per eight lanes: so
// each value is loaded once. A workgroup is one subgroup; it owns 16 rows × 64 columns of c, a lane all
// rows of 8 columns. Every lane loads the elements of a of two rows and broadcasts them. No workgroup
// memory, no barriers: those suspend and resume all lanes. b's columns are contiguous and padded to whole
// vec4s.
@group(0) @binding(1) var<storage, read> a: array<f32>;
@group(0) @binding(2) var<storage, read> b: array<vec4f>;
@group(0) @binding(3) var<storage, read_write> c: array<f32>;

@compute @workgroup_size(8)
fn main(@builtin(workgroup_id) wid: vec3u, @builtin(subgroup_invocation_id) lane: u32) {
  let row = wid.y * 16u;
  let col = (wid.x * 8u + lane) * 8u;
  // Rows and columns past the end repeat the last ones; they are not stored.
  let last = p.rows - 1u;
  let begin = wid.z * p.depth_step;
  let end = min(begin + p.depth_step, p.depth);
  var i0 = min(row + lane, last) * p.a_row + begin * p.a_depth;
  var i1 = min(row + 8u + lane, last) * p.a_row + begin * p.a_depth;
  let pitch = p.b_depth / 4u;
  var j0 = min(col / 4u, pitch - 1u) + begin * pitch;
  var j1 = min(col / 4u + 1u, pitch - 1u) + begin * pitch;

  var c0_0 = vec4f(); var c0_1 = vec4f();
  var c1_0 = vec4f(); var c1_1 = vec4f();
  var c2_0 = vec4f(); var c2_1 = vec4f();
  var c3_0 = vec4f(); var c3_1 = vec4f();
  var c4_0 = vec4f(); var c4_1 = vec4f();
  var c5_0 = vec4f(); var c5_1 = vec4f();
  var c6_0 = vec4f(); var c6_1 = vec4f();
  var c7_0 = vec4f(); var c7_1 = vec4f();
  var c8_0 = vec4f(); var c8_1 = vec4f();
  var c9_0 = vec4f(); var c9_1 = vec4f();
  var c10_0 = vec4f(); var c10_1 = vec4f();
  var c11_0 = vec4f(); var c11_1 = vec4f();
  var c12_0 = vec4f(); var c12_1 = vec4f();
  var c13_0 = vec4f(); var c13_1 = vec4f();
  var c14_0 = vec4f(); var c14_1 = vec4f();
  var c15_0 = vec4f(); var c15_1 = vec4f();
  for (var i = begin; i < end; i++) {
    let x0 = a[i0];
    let x1 = a[i1];
    let b0 = b[j0];
    let b1 = b[j1];
    i0 += p.a_depth;
    i1 += p.a_depth;
    j0 += pitch;
    j1 += pitch;
    let a0 = subgroupBroadcast(x0, 0u); c0_0 += a0 * b0; c0_1 += a0 * b1;
    let a1 = subgroupBroadcast(x0, 1u); c1_0 += a1 * b0; c1_1 += a1 * b1;
    let a2 = subgroupBroadcast(x0, 2u); c2_0 += a2 * b0; c2_1 += a2 * b1;
    let a3 = subgroupBroadcast(x0, 3u); c3_0 += a3 * b0; c3_1 += a3 * b1;
    let a4 = subgroupBroadcast(x0, 4u); c4_0 += a4 * b0; c4_1 += a4 * b1;
    let a5 = subgroupBroadcast(x0, 5u); c5_0 += a5 * b0; c5_1 += a5 * b1;
    let a6 = subgroupBroadcast(x0, 6u); c6_0 += a6 * b0; c6_1 += a6 * b1;
    let a7 = subgroupBroadcast(x0, 7u); c7_0 += a7 * b0; c7_1 += a7 * b1;
    let a8 = subgroupBroadcast(x1, 0u); c8_0 += a8 * b0; c8_1 += a8 * b1;
    let a9 = subgroupBroadcast(x1, 1u); c9_0 += a9 * b0; c9_1 += a9 * b1;
    let a10 = subgroupBroadcast(x1, 2u); c10_0 += a10 * b0; c10_1 += a10 * b1;
    let a11 = subgroupBroadcast(x1, 3u); c11_0 += a11 * b0; c11_1 += a11 * b1;
    let a12 = subgroupBroadcast(x1, 4u); c12_0 += a12 * b0; c12_1 += a12 * b1;
    let a13 = subgroupBroadcast(x1, 5u); c13_0 += a13 * b0; c13_1 += a13 * b1;
    let a14 = subgroupBroadcast(x1, 6u); c14_0 += a14 * b0; c14_1 += a14 * b1;
    let a15 = subgroupBroadcast(x1, 7u); c15_0 += a15 * b0; c15_1 += a15 * b1;
  }
  // A loop, not 128 stores in a row: those take llvmpipe ten seconds to compile.
  let sums = array<vec4f, 32>(
    c0_0, c0_1, c1_0, c1_1, c2_0, c2_1, c3_0, c3_1,
    c4_0, c4_1, c5_0, c5_1, c6_0, c6_1, c7_0, c7_1,
    c8_0, c8_1, c9_0, c9_1, c10_0, c10_1, c11_0, c11_1,
    c12_0, c12_1, c13_0, c13_1, c14_0, c14_1, c15_0, c15_1,
  );
  let c_row = select(p.c_row, p.cols, PARTIAL);
  let at = row * c_row + col + select(p.c_from, wid.z * p.rows * p.cols, PARTIAL);
  let rows = min(16u, p.rows - row);
  for (var r = 0u; r < rows; r++) {
    put4(at + r * c_row, col, sums[2u * r]);
    put4(at + r * c_row + 4u, col + 4u, sums[2u * r + 1u]);
  }
}
