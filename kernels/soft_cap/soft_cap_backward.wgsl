//!use shared/soft_cap.wgsl
// dx = dy · (1 − (y / cap)²), threads stride over the elements.
struct Params { N: u32, cap: f32 }
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> dy: array<f32>;
@group(0) @binding(2) var<storage, read> y: array<f32>;
@group(0) @binding(3) var<storage, read_write> dx: array<f32>;

override WG: u32 = 256;

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) wid: vec3u, @builtin(num_workgroups) nwg: vec3u,
        @builtin(local_invocation_index) lane: u32) {
  for (var i = wid.x * WG + lane; i < p.N; i += nwg.x * WG) { dx[i] = dy[i] * soft_cap_slope(y[i], p.cap); }
}
