//!use shared/soft_cap.wgsl
// Attention forward without barriers. A row is a query of one head; the rows of the heads that share a kv
// head are numbered t · heads + head. A thread owns 4 rows, in the components of vec4s, and takes 16 keys at
// a time. All addresses into k and v are the same for a whole workgroup: software adapters load them once for
// all lanes. `own` holds, per thread, its scaled queries and its sums: [block, kv head, queries or sums, d,
// lane].
struct Params {
  T: u32, H: u32, E: u32, S: u32, G: u32, past: u32, window: u32, sinks: u32, scale: f32, softcap: f32,
}
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> q: array<f32>;
@group(0) @binding(2) var<storage, read> k: array<f32>;
@group(0) @binding(3) var<storage, read> v: array<f32>;
@group(0) @binding(4) var<storage, read_write> y: array<f32>;
@group(0) @binding(5) var<storage, read_write> lse: array<f32>;
@group(0) @binding(6) var<storage, read_write> own: array<vec4f>;

override GROUP: u32 = 8;
const KEYS = 16u;
/// Finite stand-ins for −∞: a masked score lies so far below the initial maximum that its exponential is 0.
const MASKED = -3.0e38;
const LOWEST = -1.0e30;

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

  let queries = group * 2u * p.E * GROUP + lane;
  let sums = queries + p.E * GROUP;
  for (var d = 0u; d < p.E; d++) {
    own[queries + d * GROUP] = p.scale * vec4f(q[row.x + d], q[row.y + d], q[row.z + d], q[row.w + d]);
    own[sums + d * GROUP] = vec4f();
  }

  var m = vec4f(LOWEST);
  var l = vec4f();
  var s: array<vec4f, KEYS>;
  var j = 0u;
  while (j <= last) {
    // Past the sinks, go straight to the first query's window
    if (p.window > 0u && j >= p.sinks && first + 1u > p.window) {
      j = max(j, first + 1u - p.window);
    }
    // Keys behind the last one are masked; it is read in their place
    var at: array<u32, KEYS>;
    for (var i = 0u; i < KEYS; i++) {
      at[i] = min(j + i, last) * step + kv;
      s[i] = vec4f();
    }
    for (var d = 0u; d < p.E; d++) {
      let x = own[queries + d * GROUP];
      for (var i = 0u; i < KEYS; i++) { s[i] = fma(vec4f(k[at[i] + d]), x, s[i]); }
    }
    var top = m;
    for (var i = 0u; i < KEYS; i++) {
      let key = j + i;
      var see = vec4u(key) <= position;
      if (p.window > 0u && key >= p.sinks) { see = see & (vec4u(key + p.window) > position); }
      if (p.softcap > 0.0) { s[i] = soft_cap4(s[i], p.softcap); }
      s[i] = select(vec4f(MASKED), s[i], see);
      top = max(top, s[i]);
    }
    let f = exp(m - top);
    m = top;
    l *= f;
    for (var i = 0u; i < KEYS; i++) {
      s[i] = exp(s[i] - m);
      l += s[i];
    }
    for (var d = 0u; d < p.E; d++) {
      var sum = f * own[sums + d * GROUP];
      for (var i = 0u; i < KEYS; i++) { sum = fma(vec4f(v[at[i] + d]), s[i], sum); }
      own[sums + d * GROUP] = sum;
    }
    j += KEYS;
  }

  let inverse = 1.0 / l;
  let log_sum = m + log(l);
  for (var i = 0u; i < 4u; i++) {
    if (r4[i] < rows) {
      lse[entry[i]] = log_sum[i];
      for (var d = 0u; d < p.E; d++) { y[row[i] + d] = inverse[i] * own[sums + d * GROUP][i]; }
    }
  }
}
