// delta[t,h] = Σ_d y · dy: a thread per row.
struct Params { T: u32, H: u32, E: u32 }
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> y: array<f32>;
@group(0) @binding(2) var<storage, read> dy: array<f32>;
@group(0) @binding(3) var<storage, read_write> delta: array<f32>;

override GROUP: u32 = 64;

@compute @workgroup_size(GROUP)
fn main(@builtin(workgroup_id) wid: vec3u, @builtin(num_workgroups) nwg: vec3u,
        @builtin(local_invocation_index) lane: u32) {
  let row = (wid.y * nwg.x + wid.x) * GROUP + lane;
  if (row >= p.T * p.H) { return; }
  var sum = 0.0;
  for (var d = 0u; d < p.E; d++) { sum = fma(y[row * p.E + d], dy[row * p.E + d], sum); }
  delta[row] = sum;
}
