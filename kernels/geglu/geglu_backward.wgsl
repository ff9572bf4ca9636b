//!use geglu/gelu.wgsl
// dup = dy·gate·s, dgate = dy·up·s·(1 + gate·z'·(1 − s)) with z' = SLOPE + 3·CURVE·gate², threads stride over the elements.
struct Params { N: u32 }
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> dy: array<f32>;
@group(0) @binding(2) var<storage, read> gate: array<f32>;
@group(0) @binding(3) var<storage, read> up: array<f32>;
@group(0) @binding(4) var<storage, read_write> dgate: array<f32>;
@group(0) @binding(5) var<storage, read_write> dup: array<f32>;

override WG: u32 = 256;

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) wid: vec3u, @builtin(num_workgroups) nwg: vec3u,
        @builtin(local_invocation_index) lane: u32) {
  for (var i = wid.x * WG + lane; i < p.N; i += nwg.x * WG) {
    let g = gate[i];
    let near = clamp(g, -EDGE, EDGE);
    let e = exp_minus(near);
    let s = sigmoid(g, e);
    let slope = SLOPE + 3.0 * CURVE * near * near;
    let through = dy[i] * s;
    dup[i] = through * g;
    dgate[i] = through * up[i] * (1.0 + near * slope * (e * s)); // 1 − s = e·s, without the cancellation
  }
}
