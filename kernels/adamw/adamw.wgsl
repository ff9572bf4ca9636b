//!use shared/special.wgsl
// AdamW with global-norm clipping, threads stride over the elements. torch.optim.AdamW's order of operations.
struct Params {
  N: u32,
  decay: f32, rate: f32, beta1: f32, rest1: f32, beta2: f32, rest2: f32, root: f32, eps: f32, clip: f32,
}
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> g: array<f32>;
@group(0) @binding(2) var<storage, read> norm2: array<f32>;
@group(0) @binding(3) var<storage, read_write> p: array<f32>;
@group(0) @binding(4) var<storage, read_write> m: array<f32>;
@group(0) @binding(5) var<storage, read_write> v: array<f32>;
@group(0) @binding(6) var<storage, read_write> skipped: array<f32>;

override WG: u32 = 256;

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) wid: vec3u, @builtin(num_workgroups) nwg: vec3u,
        @builtin(local_invocation_index) lane: u32) {
  if (!is_finite(norm2[0])) {
    if (wid.x == 0u && lane == 0u) { skipped[0] += 1.0; }
    return;
  }
  var s = 1.0;
  if (params.clip > 0.0) { s = min(1.0, params.clip / (sqrt(norm2[0]) + 1e-6)); }
  for (var i = wid.x * WG + lane; i < params.N; i += nwg.x * WG) {
    let clipped = s * g[i];
    let first = params.beta1 * m[i] + params.rest1 * clipped;
    let second = params.beta2 * v[i] + params.rest2 * clipped * clipped;
    m[i] = first;
    v[i] = second;
    let decayed = p[i] - params.decay * p[i];
    p[i] = decayed - params.rate * first / (sqrt(second) * params.root + params.eps);
  }
}
