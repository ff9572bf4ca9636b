//!use shared/reduce.wgsl
// RMSNorm's gradient of x, one workgroup per row. dx = rstd · (g·dy − x · rstd² · mean(g·dy·x))
struct Params { R: u32, D: u32 }
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> dy: array<f32>;
@group(0) @binding(2) var<storage, read> x: array<f32>;
@group(0) @binding(3) var<storage, read> g: array<f32>;
@group(0) @binding(4) var<storage, read> rstd: array<f32>;
@group(0) @binding(5) var<storage, read_write> dx: array<f32>;

override WG: u32 = 64;

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) wid: vec3u, @builtin(num_workgroups) nwg: vec3u,
        @builtin(local_invocation_index) lane: u32) {
  let r = wid.y * nwg.x + wid.x;
  if (r >= p.R) { return; } // uniform: depends on workgroup_id alone
  let row = r * p.D;
  var dot = 0.0;
  for (var d = lane; d < p.D; d += WG) { dot += g[d] * dy[row + d] * x[row + d]; }
  let scale = rstd[r];
  let back = scale * scale * block_sum(dot, lane) / f32(p.D);
  for (var d = lane; d < p.D; d += WG) { dx[row + d] = scale * (g[d] * dy[row + d] - x[row + d] * back); }
}
