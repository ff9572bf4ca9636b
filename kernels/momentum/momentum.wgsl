//!use shared/special.wgsl
// The momentum of SGD and Muon with global-norm clipping, threads stride over the elements.
struct Params {
  N: u32,
  decay: f32, beta: f32, own: f32, kept: f32, clip: f32,
}
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> g: array<f32>;
@group(0) @binding(2) var<storage, read> norm2: array<f32>;
@group(0) @binding(3) var<storage, read_write> p: array<f32>;
@group(0) @binding(4) var<storage, read_write> m: array<f32>;
@group(0) @binding(5) var<storage, read_write> skipped: array<f32>;
@group(0) @binding(6) var<storage, read_write> u: array<f32>;

override WG: u32 = 256;

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) wid: vec3u, @builtin(num_workgroups) nwg: vec3u,
        @builtin(local_invocation_index) lane: u32) {
  let skip = !is_finite(norm2[0]);
  if (skip && wid.x == 0u && lane == 0u) { skipped[0] += 1.0; }
  var s = 1.0;
  if (params.clip > 0.0) { s = min(1.0, params.clip / (sqrt(norm2[0]) + 1e-6)); }
  for (var i = wid.x * WG + lane; i < params.N; i += nwg.x * WG) {
    if (skip) {
      u[i] = 0.0;
      continue;
    }
    let clipped = s * g[i];
    let mean = params.beta * m[i] + clipped;
    m[i] = mean;
    p[i] = p[i] - params.decay * p[i];
    u[i] = params.own * clipped + params.kept * mean;
  }
}
