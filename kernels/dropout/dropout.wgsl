//!use shared/threefry.wgsl
// Dropout, threads stride over pairs of elements: one Threefry call makes the words of both.
struct Params { N: u32, seed: u32, stream: u32, step: u32, p: f32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;

override WG: u32 = 256;

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) wid: vec3u, @builtin(num_workgroups) nwg: vec3u,
        @builtin(local_invocation_index) lane: u32) {
  let threshold = u32(floor(params.p * 16777216.0 + 0.5));
  let scale = 16777216.0 / f32(16777216u - threshold); // 1 − p in f32 would lose digits
  for (var i = (wid.x * WG + lane) * 2u; i < params.N; i += nwg.x * WG * 2u) {
    let words = threefry2x32(vec2u(params.seed, params.stream), vec2u(i / 2u, params.step));
    y[i] = select(0.0, x[i] * scale, (words.x >> 8u) >= threshold);
    if (i + 1u < params.N) { y[i + 1u] = select(0.0, x[i + 1u] * scale, (words.y >> 8u) >= threshold); }
  }
}
