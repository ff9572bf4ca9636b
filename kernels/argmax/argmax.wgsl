//!use shared/reduce.wgsl
//!use shared/special.wgsl
// The lowest index of a row's largest value, one workgroup per row.
struct Params { R: u32, V: u32 }
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> logits: array<f32>;
@group(0) @binding(2) var<storage, read_write> index: array<i32>;

override WG: u32 = 256;

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) wid: vec3u, @builtin(num_workgroups) nwg: vec3u,
        @builtin(local_invocation_index) lane: u32) {
  let r = wid.y * nwg.x + wid.x;
  if (r >= p.R) { return; } // uniform: depends on workgroup_id alone
  let row = r * p.V;
  var top = -3.4e38;
  var at = p.V;
  var sound = 1u;
  for (var v = lane; v < p.V; v += WG) {
    let value = logits[row + v];
    if (is_nan(value) || is_top(value)) { sound = 0u; }
    if (value > top) { top = value; at = v; } // the lane's lowest index: v only grows
  }
  let best = block_max(top, lane);
  let found = block_min(select(p.V, at, top == best), lane);
  let all_sound = block_min(sound, lane);
  if (lane == 0u) { index[r] = select(-1, i32(found), found < p.V && all_sound != 0u); }
}
