//!use shared/special.wgsl
// Embedding gather, one workgroup per token. y[t] = scale · w[ids[t]]; w1 and w4 come from formats/<dtype>/<dtype>.wgsl
// Bound are the table's rows [first, first + count): tokens with other rows are left to other passes.
struct Params { T: u32, V: u32, D: u32, scale: f32, first: u32, count: u32 }
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> ids: array<i32>;
@group(0) @binding(2) var<storage, read> w: array<u32>;
@group(0) @binding(3) var<storage, read_write> y: array<f32>;

override WG: u32 = 64;

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) wid: vec3u, @builtin(num_workgroups) nwg: vec3u,
        @builtin(local_invocation_index) lane: u32) {
  let t = wid.y * nwg.x + wid.x;
  if (t >= p.T) { return; }
  let id = ids[t];
  let known = id >= 0 && u32(id) < p.V;
  let near = u32(id) - p.first; // wraps where the row is before the first
  if (known && near >= p.count) { return; }
  let row = select(0u, near, known) * p.D;
  let out = t * p.D;
  if (p.D % 4u == 0u) {
    for (var d = lane * 4u; d < p.D; d += WG * 4u) {
      let v = select(vec4f(nan(p.V)), p.scale * w4(row + d), known);
      y[out + d] = v.x;
      y[out + d + 1u] = v.y;
      y[out + d + 2u] = v.z;
      y[out + d + 3u] = v.w;
    }
  } else {
    for (var d = lane; d < p.D; d += WG) { y[out + d] = select(nan(p.V), p.scale * w1(row + d), known); }
  }
}
