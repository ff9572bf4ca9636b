//!use shared/reduce.wgsl
//!use shared/soft_cap.wgsl
//!use shared/special.wgsl
// Cross-entropy, one workgroup per row: the row's maximum, the sum of exponentials, then the gradient in its place. Between
// the two the row holds exponentials or, with a soft cap, the capped logits, which the gradient of the cap asks for.
struct Params { R: u32, V: u32, gradient: u32, softcap: f32 }
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> targets: array<i32>;
@group(0) @binding(2) var<storage, read_write> logits: array<f32>;
@group(0) @binding(3) var<storage, read_write> nll: array<f32>;

override WG: u32 = 256;

fn capped(logit: f32) -> f32 {
  if (p.softcap > 0.0) { return soft_cap(logit, p.softcap); }
  return logit;
}

/// One value for the loss and for all the row's gradients.
fn settle(r: u32, lane: u32, value: f32) {
  if (lane == 0u) { nll[r] = value; }
  if (p.gradient == 0u) { return; }
  for (var v = lane; v < p.V; v += WG) { logits[r * p.V + v] = value; }
}

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) wid: vec3u, @builtin(num_workgroups) nwg: vec3u,
        @builtin(local_invocation_index) lane: u32) {
  let r = wid.y * nwg.x + wid.x;
  if (r >= p.R) { return; } // uniform: depends on workgroup_id alone
  let row = r * p.V;
  let goal = targets[r];
  if (goal < 0 || u32(goal) >= p.V) { // uniform: one value of read-only memory for the whole group
    settle(r, lane, select(nan(p.V), 0.0, goal < 0));
    return;
  }
  var top = -3.4e38;
  var sound = 1u;
  for (var v = lane; v < p.V; v += WG) {
    let logit = logits[row + v];
    if (is_nan(logit) || is_top(logit)) { sound = 0u; }
    top = max(top, logit);
  }
  top = block_max(top, lane);
  let none = p.softcap > 0.0 && top == -3.4e38; // nothing but −∞, of which a cap would make −softcap
  top = capped(top);
  sound = block_min(sound, lane);
  let keeper = lane == u32(goal) % WG; // the lane that overwrites the target's logit
  var hit = 0.0;
  if (keeper) { hit = capped(logits[row + u32(goal)]); }
  var sum = 0.0;
  for (var v = lane; v < p.V; v += WG) {
    let y = capped(logits[row + v]);
    let e = exp(y - top);
    sum += e;
    if (p.gradient != 0u) { logits[row + v] = select(e, y, p.softcap > 0.0); }
  }
  sum = block_sum(sum, lane);
  if (sound == 0u || none || sum == 0.0) { // 0: nothing but −∞
    settle(r, lane, nan(p.V));
    return;
  }
  if (keeper) { nll[r] = top - hit + log(sum); }
  if (p.gradient == 0u) { return; }
  let scale = 1.0 / sum;
  if (p.softcap > 0.0) {
    for (var v = lane; v < p.V; v += WG) {
      let y = logits[row + v];
      let d = exp(y - top) * scale - select(0.0, 1.0, v == u32(goal));
      logits[row + v] = d * soft_cap_slope(y, p.softcap);
    }
    return;
  }
  for (var v = lane; v < p.V; v += WG) {
    logits[row + v] = logits[row + v] * scale - select(0.0, 1.0, v == u32(goal));
  }
}
