// First pass of dk and dv: what each thread of attention_backward_kv_lanes.wgsl owns, 4 scaled keys and their
// values in the components of vec4s, and zeros for its two sums: own[block, kv head, which, d, lane]. A pass
// of its own because 8 storage buffers are all that every adapter allows.
struct Params {
  T: u32, H: u32, E: u32, S: u32, G: u32, past: u32, window: u32, sinks: u32, frozen: u32, scale: f32,
  softcap: f32,
}
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> k: array<f32>;
@group(0) @binding(2) var<storage, read> v: array<f32>;
@group(0) @binding(3) var<storage, read_write> own: array<vec4f>;

override GROUP: u32 = 8;

@compute @workgroup_size(GROUP)
fn main(@builtin(workgroup_id) wid: vec3u, @builtin(num_workgroups) nwg: vec3u,
        @builtin(local_invocation_index) lane: u32) {
  let group = wid.y * nwg.x + wid.x;
  let j = (group / p.G * GROUP + lane) * 4u;
  if (j >= p.S) { return; }
  // Keys behind the last one that holds values stand for it and are masked later
  let row = (min(j + vec4u(0u, 1u, 2u, 3u), vec4u(min(p.past + p.T, p.S) - 1u)) * p.G + group % p.G) * p.E;
  let size = p.E * GROUP;
  var at = group * 4u * size + lane;
  for (var d = 0u; d < p.E; d++) {
    own[at] = p.scale * vec4f(k[row.x + d], k[row.y + d], k[row.z + d], k[row.w + d]);
    own[at + size] = vec4f(v[row.x + d], v[row.y + d], v[row.z + d], v[row.w + d]);
    own[at + 2u * size] = vec4f();
    own[at + 3u * size] = vec4f();
    at += GROUP;
  }
}
