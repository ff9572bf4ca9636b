//!use matmul/tile_params.wgsl
// c (+)= alpha · the sum of the partial products that tile_hardware.wgsl left, in a fixed order.
@group(0) @binding(1) var<storage, read> partial: array<f32>;
@group(0) @binding(2) var<storage, read_write> c: array<f32>;

override ACCUMULATE: bool = false;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) wid: vec3u, @builtin(num_workgroups) nwg: vec3u,
        @builtin(local_invocation_index) lane: u32) {
  let size = p.rows * p.cols;
  let i = (wid.y * nwg.x + wid.x) * 64u + lane;
  if (i >= size) { return; }
  var sum = 0.0;
  for (var depth = 0u; depth < p.depth; depth += p.depth_step) {
    sum += partial[depth / p.depth_step * size + i];
  }
  let at = i / p.cols * p.c_row + p.c_from + i % p.cols;
  if (ACCUMULATE) { c[at] += p.alpha * sum; } else { c[at] = p.alpha * sum; }
}
