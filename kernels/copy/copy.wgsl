// y[to + i] = x[from + i], threads stride over the elements. (`from` is a reserved word of WGSL, hence the underscore.)
struct Params { N: u32, M: u32, from_: u32, to: u32, count: u32 }
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;

override WG: u32 = 256;

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) wid: vec3u, @builtin(num_workgroups) nwg: vec3u,
        @builtin(local_invocation_index) lane: u32) {
  for (var i = wid.x * WG + lane; i < p.count; i += nwg.x * WG) {
    y[p.to + i] = x[p.from_ + i];
  }
}
