// Repetition penalty and bans, threads stride over the ids; the ids differ, so no two threads meet.
struct Params { N: u32, V: u32, count: u32 }
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> ids: array<i32>;
@group(0) @binding(2) var<storage, read> factors: array<f32>;
@group(0) @binding(3) var<storage, read_write> logits: array<f32>;

override WG: u32 = 256;

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) wid: vec3u, @builtin(num_workgroups) nwg: vec3u,
        @builtin(local_invocation_index) lane: u32) {
  for (var i = wid.x * WG + lane; i < p.count; i += nwg.x * WG) {
    let id = u32(ids[i]);
    if (id >= p.V) { continue; } // a negative one is a large one
    let f = factors[i];
    let l = logits[id];
    if (f == 0.0) {
      logits[id] = -1e30;
    } else if (l > 0.0) {
      logits[id] = l / f;
    } else {
      logits[id] = l * f;
    }
  }
}
