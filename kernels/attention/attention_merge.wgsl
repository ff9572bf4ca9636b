// Two attentions as one: a thread per query and head.
struct Params { N: u32, H: u32, E: u32, T: u32 }
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> y2: array<f32>;
@group(0) @binding(2) var<storage, read> lse2: array<f32>;
@group(0) @binding(3) var<storage, read_write> y: array<f32>;
@group(0) @binding(4) var<storage, read_write> lse: array<f32>;

override GROUP: u32 = 64;

@compute @workgroup_size(GROUP)
fn main(@builtin(workgroup_id) wid: vec3u, @builtin(num_workgroups) nwg: vec3u,
        @builtin(local_invocation_index) lane: u32) {
  let n = (wid.y * nwg.x + wid.x) * GROUP + lane;
  if (n >= p.N * p.H) { return; }
  let row = (p.T - p.N) * p.H + n;
  let one = lse[row];
  let two = lse2[n];
  let top = max(one, two);
  let e = exp(vec2f(one, two) - top);
  let sum = e.x + e.y;
  lse[row] = top + log(sum);
  let w = e / sum;
  for (var d = 0u; d < p.E; d++) { y[row * p.E + d] = fma(w.x, y[row * p.E + d], w.y * y2[n * p.E + d]); }
}
