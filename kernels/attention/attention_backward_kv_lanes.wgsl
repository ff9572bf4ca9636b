//!use shared/soft_cap.wgsl
// dk and dv without barriers: a thread owns 4 keys of one kv head, in the components of vec4s, and walks over
// the rows that see them (query t of its n-th head is row t · heads + n), ROWS at a time. All addresses into
// q and dy are the same for a whole workgroup. `own` comes from attention_pack_lanes.wgsl: scaled keys,
// values, sums of dk, sums of dv.
struct Params {
  T: u32, H: u32, E: u32, S: u32, G: u32, past: u32, window: u32, sinks: u32, frozen: u32, scale: f32,
  softcap: f32,
}
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> q: array<f32>;
@group(0) @binding(2) var<storage, read> dy: array<f32>;
@group(0) @binding(3) var<storage, read> lse: array<f32>;
@group(0) @binding(4) var<storage, read> delta: array<f32>;
@group(0) @binding(5) var<storage, read_write> own: array<vec4f>;
@group(0) @binding(6) var<storage, read_write> dk: array<f32>;
@group(0) @binding(7) var<storage, read_write> dv: array<f32>;

override GROUP: u32 = 8;
const ROWS = 8u;

@compute @workgroup_size(GROUP)
fn main(@builtin(workgroup_id) wid: vec3u, @builtin(num_workgroups) nwg: vec3u,
        @builtin(local_invocation_index) lane: u32) {
  let group = wid.y * nwg.x + wid.x;
  let g = group % p.G;
  let first = group / p.G * GROUP * 4u; // of the workgroup's keys
  if (first >= p.S) { return; }
  let key = first + lane * 4u + vec4u(0u, 1u, 2u, 3u);
  let size = p.E * GROUP;
  let keys = group * 4u * size + lane;
  let values = keys + size;
  let dks = values + size;
  let dvs = dks + size;

  // From the first key's own query on; in a window, up to the last query that sees the last key
  let begin = max(first, p.past) - p.past;
  var end = p.T;
  if (p.window > 0u && first >= p.sinks) {
    end = min(end, max(first + GROUP * 4u - 1u + p.window, p.past) - p.past);
  }
  if (first + GROUP * 4u <= p.frozen) { end = begin; }
  let heads = p.H / p.G;
  var s: array<vec4f, ROWS>;
  var dp: array<vec4f, ROWS>;
  var entry: array<u32, ROWS>;
  for (var r = begin * heads; r < end * heads; r += ROWS) {
    for (var i = 0u; i < ROWS; i++) {
      let row = min(r + i, p.T * heads - 1u);
      entry[i] = row / heads * p.H + g * heads + row % heads;
      s[i] = vec4f();
      dp[i] = vec4f();
    }
    for (var d = 0u; d < p.E; d++) {
      let x = own[keys + d * GROUP];
      let z = own[values + d * GROUP];
      for (var i = 0u; i < ROWS; i++) {
        s[i] = fma(vec4f(q[entry[i] * p.E + d]), x, s[i]);
        dp[i] = fma(vec4f(dy[entry[i] * p.E + d]), z, dp[i]);
      }
    }
    for (var i = 0u; i < ROWS; i++) {
      let position = p.past + (r + i) / heads;
      var see = (key <= vec4u(position)) & vec4<bool>(r + i < end * heads);
      if (p.window > 0u) { see = see & ((key + p.window > vec4u(position)) | (key < vec4u(p.sinks))); }
      var slope = vec4f(1.0);
      if (p.softcap > 0.0) {
        s[i] = soft_cap4(s[i], p.softcap);
        slope = soft_cap_slope4(s[i], p.softcap);
      }
      s[i] = select(vec4f(), exp(s[i] - lse[entry[i]]), see);
      dp[i] = select(vec4f(), s[i] * (dp[i] - delta[entry[i]]) * slope, see);
    }
    for (var d = 0u; d < p.E; d++) {
      var sum_k = own[dks + d * GROUP];
      var sum_v = own[dvs + d * GROUP];
      for (var i = 0u; i < ROWS; i++) {
        sum_k = fma(vec4f(q[entry[i] * p.E + d]), dp[i], sum_k);
        sum_v = fma(vec4f(dy[entry[i] * p.E + d]), s[i], sum_v);
      }
      own[dks + d * GROUP] = sum_k;
      own[dvs + d * GROUP] = sum_v;
    }
  }

  for (var i = 0u; i < 4u; i++) {
    if (key[i] < p.S) {
      let row = (key[i] * p.G + g) * p.E;
      let learns = select(0.0, 1.0, key[i] >= p.frozen);
      for (var d = 0u; d < p.E; d++) {
        dk[row + d] = learns * p.scale * own[dks + d * GROUP][i];
        dv[row + d] = learns * own[dvs + d * GROUP][i];
      }
    }
  }
}
