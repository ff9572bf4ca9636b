//!use shared/reduce.wgsl
// y[0] = Σ x, one workgroup.
struct Params { N: u32 }
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;

override WG: u32 = 256;

@compute @workgroup_size(WG)
fn main(@builtin(local_invocation_index) lane: u32) {
  var total = 0.0;
  for (var i = lane; i < p.N; i += WG) { total += x[i]; }
  total = block_sum(total, lane);
  if (lane == 0u) { y[0] = total; }
}
