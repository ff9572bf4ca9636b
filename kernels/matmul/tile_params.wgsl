// What every pass of a matrix product reads: c[row, col] (+)= alpha · Σ_i a[row, i] · b[i, col], all by
// strides, so that one tile serves the three layouts. The kernel's own dimensions come first in the block,
// as in all kernels; their order differs between the layouts, so the tile goes by the fields after them.
struct Params {
  dim0: u32, dim1: u32, dim2: u32,
  alpha: f32,
  rows: u32, cols: u32, depth: u32,
  a_row: u32, a_depth: u32,  // strides of a, in elements
  b_col: u32, b_depth: u32,  // strides of b
  c_row: u32, c_from: u32,   // stride of c's rows, and c's first column
  depth_step: u32,           // how much of the depth one z-slice of workgroups sums
}
@group(0) @binding(0) var<uniform> p: Params;
