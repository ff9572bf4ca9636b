//!use shared/reduce.wgsl
//!use shared/special.wgsl
// RMSNorm, one workgroup per row. y = x · rstd · g; NaN where the squares' sum is not finite
struct Params { R: u32, D: u32, eps: f32 }
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> g: array<f32>;
@group(0) @binding(3) var<storage, read_write> y: array<f32>;
@group(0) @binding(4) var<storage, read_write> rstd: array<f32>;

override WG: u32 = 64;

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) wid: vec3u, @builtin(num_workgroups) nwg: vec3u,
        @builtin(local_invocation_index) lane: u32) {
  let r = wid.y * nwg.x + wid.x;
  if (r >= p.R) { return; } // uniform: depends on workgroup_id alone
  var sum = 0.0;
  for (var d = lane; d < p.D; d += WG) {
    let v = x[r * p.D + d];
    sum += v * v;
  }
  let squares = block_sum(sum, lane);
  let scale = select(nan(p.D), inverseSqrt(squares / f32(p.D) + p.eps), is_finite(squares));
  if (lane == 0u) { rstd[r] = scale; }
  for (var d = lane; d < p.D; d += WG) { y[r * p.D + d] = x[r * p.D + d] * scale * g[d]; }
}
