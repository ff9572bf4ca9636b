//!use shared/reduce.wgsl
//!use shared/soft_cap.wgsl
//!use shared/special.wgsl
// The divergence from the anchor's softmax p to that of the logits q, one workgroup per row: both maxima, then three sums, then q − p
// in place of the logits.
struct Params { R: u32, V: u32, softcap: f32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> anchor: array<f32>;
@group(0) @binding(2) var<storage, read_write> logits: array<f32>;
@group(0) @binding(3) var<storage, read_write> kl: array<f32>;

override WG: u32 = 256;

fn capped(x: f32) -> f32 {
  if (params.softcap > 0.0) { return soft_cap(x, params.softcap); }
  return x;
}

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) wid: vec3u, @builtin(num_workgroups) nwg: vec3u,
        @builtin(local_invocation_index) lane: u32) {
  let r = wid.y * nwg.x + wid.x;
  if (r >= params.R) { return; } // uniform: depends on workgroup_id alone
  let row = r * params.V;
  var top_p = -3.4e38;
  var top_q = -3.4e38;
  var sound = 1u;
  for (var v = lane; v < params.V; v += WG) {
    let x = anchor[row + v];
    let y = logits[row + v];
    if (!is_finite(x) || !is_finite(y)) { sound = 0u; }
    top_p = max(top_p, x);
    top_q = max(top_q, y);
  }
  sound = block_min(sound, lane);
  top_p = capped(block_max(top_p, lane));
  top_q = capped(block_max(top_q, lane));
  var sum_p = 0.0;
  var sum_q = 0.0;
  var mean = 0.0; // of log p − log q, but for the logs of the sums, times sum_p
  for (var v = lane; v < params.V; v += WG) {
    let a = capped(anchor[row + v]) - top_p;
    let y = capped(logits[row + v]);
    let b = y - top_q;
    let e = exp(a);
    sum_p += e;
    sum_q += exp(b);
    mean += e * (a - b);
    logits[row + v] = y;
  }
  sum_p = block_sum(sum_p, lane);
  sum_q = block_sum(sum_q, lane);
  mean = block_sum(mean, lane);
  if (sound == 0u) { // one value for the divergence and for all the row's gradients
    if (lane == 0u) { kl[r] = nan(params.V); }
    for (var v = lane; v < params.V; v += WG) { logits[row + v] = nan(params.V); }
    return;
  }
  if (lane == 0u) { kl[r] = mean / sum_p + (log(sum_q) - log(sum_p)); }
  for (var v = lane; v < params.V; v += WG) {
    let y = logits[row + v];
    let d = exp(y - top_q) / sum_q - exp(capped(anchor[row + v]) - top_p) / sum_p;
    if (params.softcap > 0.0) { logits[row + v] = d * soft_cap_slope(y, params.softcap); } else { logits[row + v] = d; }
  }
}
