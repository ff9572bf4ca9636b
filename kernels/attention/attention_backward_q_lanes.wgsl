//!use shared/soft_cap.wgsl
// dq without barriers, as attention_lanes.wgsl: a thread owns 4 rows (queries of the heads of a kv head) and
// walks over the keys KEYS at a time. `own` holds its scaled queries, its dy and its sums: [block, kv head,
// which, d, lane].
struct Params {
  T: u32, H: u32, E: u32, S: u32, G: u32, past: u32, window: u32, sinks: u32, frozen: u32, scale: f32,
  softcap: f32,
}
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> q: array<f32>;
@group(0) @binding(2) var<storage, read> k: array<f32>;
@group(0) @binding(3) var<storage, read> v: array<f32>;
@group(0) @binding(4) var<storage, read> dy: array<f32>;
@group(0) @binding(5) var<storage, read> lse: array<f32>;
@group(0) @binding(6) var<storage, read> delta: array<f32>;
@group(0) @binding(7) var<storage, read_write> dq: array<f32>;
@group(0) @binding(8) var<storage, read_write> own: array<vec4f>;

override GROUP: u32 = 8;
const KEYS = 8u;

@compute @workgroup_size(GROUP)
fn main(@builtin(workgroup_id) wid: vec3u, @builtin(num_workgroups) nwg: vec3u,
        @builtin(local_invocation_index) lane: u32) {
  let heads = p.H / p.G;
  let rows = p.T * heads;
  let blocks = (rows + GROUP * 4u - 1u) / (GROUP * 4u);
  let group = wid.y * nwg.x + wid.x;
  if (group >= blocks * p.G) { return; }
  let g = group % p.G;
  let kv = g * p.E;
  let step = p.G * p.E;
  let r0 = (blocks - 1u - group / p.G) * GROUP * 4u; // the workgroup's rows begin here
  let first = p.past + r0 / heads; // position of its first query
  // The last key that a query sees
  let last = min(p.past + (min(r0 + GROUP * 4u, rows) - 1u) / heads, p.S - 1u);
  let r4 = r0 + lane * 4u + vec4u(0u, 1u, 2u, 3u);
  // Rows behind the last one compute it again and store nothing
  let inside = min(r4, vec4u(rows - 1u));
  let entry = inside / heads * p.H + g * heads + inside % heads;
  let row = entry * p.E;
  let position = min(p.past + inside / heads, vec4u(p.S - 1u)); // of the last key that each sees

  let queries = group * 3u * p.E * GROUP + lane;
  let dys = queries + p.E * GROUP;
  let sums = dys + p.E * GROUP;
  for (var d = 0u; d < p.E; d++) {
    own[queries + d * GROUP] = p.scale * vec4f(q[row.x + d], q[row.y + d], q[row.z + d], q[row.w + d]);
    own[dys + d * GROUP] = vec4f(dy[row.x + d], dy[row.y + d], dy[row.z + d], dy[row.w + d]);
    own[sums + d * GROUP] = vec4f();
  }
  let lse4 = vec4f(lse[entry.x], lse[entry.y], lse[entry.z], lse[entry.w]);
  let delta4 = vec4f(delta[entry.x], delta[entry.y], delta[entry.z], delta[entry.w]);

  var s: array<vec4f, KEYS>;
  var dp: array<vec4f, KEYS>;
  var at: array<u32, KEYS>;
  var j = 0u;
  while (j <= last) {
    // Past the sinks, go straight to the first query's window
    if (p.window > 0u && j >= p.sinks && first + 1u > p.window) {
      j = max(j, first + 1u - p.window);
    }
    // Keys behind the last one are masked; it is read in their place
    for (var i = 0u; i < KEYS; i++) {
      at[i] = min(j + i, last) * step + kv;
      s[i] = vec4f();
      dp[i] = vec4f();
    }
    for (var d = 0u; d < p.E; d++) {
      let x = own[queries + d * GROUP];
      let z = own[dys + d * GROUP];
      for (var i = 0u; i < KEYS; i++) {
        s[i] = fma(vec4f(k[at[i] + d]), x, s[i]);
        dp[i] = fma(vec4f(v[at[i] + d]), z, dp[i]);
      }
    }
    for (var i = 0u; i < KEYS; i++) {
      let key = j + i;
      var see = vec4u(key) <= position;
      if (p.window > 0u && key >= p.sinks) { see = see & (vec4u(key + p.window) > position); }
      var slope = vec4f(1.0);
      if (p.softcap > 0.0) {
        s[i] = soft_cap4(s[i], p.softcap);
        slope = soft_cap_slope4(s[i], p.softcap);
      }
      s[i] = select(vec4f(), exp(s[i] - lse4) * (dp[i] - delta4) * slope, see);
    }
    for (var d = 0u; d < p.E; d++) {
      var sum = own[sums + d * GROUP];
      for (var i = 0u; i < KEYS; i++) { sum = fma(vec4f(k[at[i] + d]), s[i], sum); }
      own[sums + d * GROUP] = sum;
    }
    j += KEYS;
  }

  for (var i = 0u; i < 4u; i++) {
    if (r4[i] < rows) {
      for (var d = 0u; d < p.E; d++) { dq[row[i] + d] = p.scale * own[sums + d * GROUP][i]; }
    }
  }
}
