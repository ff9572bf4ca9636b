// RMSNorm's gradient of g, one thread per column: rows are added in order. dg = Σ_r dy · x · rstd
struct Params { R: u32, D: u32 }
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> dy: array<f32>;
@group(0) @binding(2) var<storage, read> x: array<f32>;
@group(0) @binding(3) var<storage, read> rstd: array<f32>;
@group(0) @binding(4) var<storage, read_write> dg: array<f32>;

override WG: u32 = 64;

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) wid: vec3u, @builtin(num_workgroups) nwg: vec3u,
        @builtin(local_invocation_index) lane: u32) {
  let d = (wid.y * nwg.x + wid.x) * WG + lane;
  if (d >= p.D) { return; }
  var sum = 0.0;
  for (var r = 0u; r < p.R; r++) { sum += dy[r * p.D + d] * x[r * p.D + d] * rstd[r]; }
  dg[d] = sum;
}
