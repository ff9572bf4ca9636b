//!use shared/reduce.wgsl
// partial[i] = Σ x² over the i-th run of ceil(N / 256) elements, one workgroup per run.
struct Params { N: u32 }
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read_write> partial: array<f32>;

override WG: u32 = 64;

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) wid: vec3u, @builtin(local_invocation_index) lane: u32) {
  let run = (p.N + 255u) / 256u;
  let end = min((wid.x + 1u) * run, p.N);
  var total = 0.0;
  for (var i = wid.x * run + lane; i < end; i += WG) { total += x[i] * x[i]; }
  total = block_sum(total, lane);
  if (lane == 0u) { partial[wid.x] = total; }
}
