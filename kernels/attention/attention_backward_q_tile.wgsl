//!use shared/soft_cap.wgsl
//!use attention/tile.wgsl
// dq on GPUs, as attention_tile.wgsl: a workgroup owns 32 rows and walks over the keys that they see.
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

var<workgroup> row_at: array<u32, SIDE>; // where each row of q begins

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) wid: vec3u, @builtin(num_workgroups) nwg: vec3u,
        @builtin(local_invocation_index) lane: u32) {
  let heads = p.H / p.G;
  let rows = p.T * heads;
  let blocks = (rows + SIDE - 1u) / SIDE;
  let group = wid.y * nwg.x + wid.x;
  if (group >= blocks * p.G) { return; }
  let g = group % p.G;
  let kv = g * p.E;
  let step = p.G * p.E;
  let r0 = (blocks - 1u - group / p.G) * SIDE; // the workgroup's rows begin here
  let first = p.past + r0 / heads; // position of its first query
  // The last key that a query sees
  let last = min(p.past + (min(r0 + SIDE, rows) - 1u) / heads, p.S - 1u);
  let ty = lane / 8u;
  let tx = lane % 8u;
  let r4 = r0 + ty * 4u + vec4u(0u, 1u, 2u, 3u);
  // Rows behind the last one compute it again and store nothing
  let known = min(r4, vec4u(rows - 1u));
  let position = min(p.past + known / heads, vec4u(p.S - 1u)); // of the last key that each sees
  let entry = known / heads * p.H + g * heads + known % heads;
  let lse4 = vec4f(lse[entry.x], lse[entry.y], lse[entry.z], lse[entry.w]);
  let delta4 = vec4f(delta[entry.x], delta[entry.y], delta[entry.z], delta[entry.w]);
  if (lane < SIDE) {
    let row = min(r0 + lane, rows - 1u);
    row_at[lane] = (row / heads * p.H + g * heads + row % heads) * p.E;
  }

  var sums: array<mat4x4f, MOST_STRIPS>;
  var j = 0u;
  while (j <= last) {
    // Past the sinks, go straight to the first query's window
    if (p.window > 0u && j >= p.sinks && first + 1u > p.window) {
      j = max(j, first + 1u - p.window);
    }
    var s = mat4x4f();
    var dp = mat4x4f();
    for (var strip = 0u; strip < 2u * STRIPS; strip++) {
      let scores = strip < STRIPS; // first q · k, then dy · v
      let e0 = select(strip - STRIPS, strip, scores);
      workgroupBarrier(); // what was staged before has been read
      for (var u = lane; u < SIDE * 8u; u += THREADS) {
        let i = u % SIDE;
        let n = u / SIDE;
        var a = vec4f();
        var b = vec4f();
        if (inside(e0, i)) {
          let e = e0 * SIDE + i;
          let rows4 = vec4u(row_at[4u * n], row_at[4u * n + 1u], row_at[4u * n + 2u], row_at[4u * n + 3u]) + e;
          let keys4 = min(j + 4u * n + vec4u(0u, 1u, 2u, 3u), vec4u(last)) * step + kv + e;
          if (scores) {
            a = p.scale * vec4f(q[rows4.x], q[rows4.y], q[rows4.z], q[rows4.w]);
            b = vec4f(k[keys4.x], k[keys4.y], k[keys4.z], k[keys4.w]);
          } else {
            a = vec4f(dy[rows4.x], dy[rows4.y], dy[rows4.z], dy[rows4.w]);
            b = vec4f(v[keys4.x], v[keys4.y], v[keys4.z], v[keys4.w]);
          }
        }
        left[i * PITCH + n] = a;
        right[i * PITCH + n] = b;
      }
      workgroupBarrier();
      if (scores) { s = add_products(s, 0u, ty, tx); } else { dp = add_products(dp, 0u, ty, tx); }
    }

    let key = j + 4u * tx + vec4u(0u, 1u, 2u, 3u);
    for (var i = 0u; i < 4u; i++) {
      var see = key <= vec4u(position[i]);
      if (p.window > 0u) { see = see & ((key + p.window > vec4u(position[i])) | (key < vec4u(p.sinks))); }
      var x = s[i];
      var slope = vec4f(1.0);
      if (p.softcap > 0.0) {
        x = soft_cap4(x, p.softcap);
        slope = soft_cap_slope4(x, p.softcap);
      }
      s[i] = select(vec4f(), exp(x - lse4[i]) * (dp[i] - delta4[i]) * slope, see);
    }
    weigh_columns(s, ty, tx);
    for (var strip = 0u; strip < STRIPS; strip++) {
      workgroupBarrier();
      for (var u = lane; u < SIDE * 8u; u += THREADS) {
        let n = u % 8u;
        let at = min(j + u / 8u, last) * step + kv + strip * SIDE + 4u * n;
        var b = vec4f();
        if (inside(strip, 4u * n)) { b.x = k[at]; }
        if (inside(strip, 4u * n + 1u)) { b.y = k[at + 1u]; }
        if (inside(strip, 4u * n + 2u)) { b.z = k[at + 2u]; }
        if (inside(strip, 4u * n + 3u)) { b.w = k[at + 3u]; }
        right[u / 8u * PITCH + n] = b;
      }
      workgroupBarrier();
      sums[strip] = add_products(sums[strip], WEIGHTS, ty, tx);
    }
    j += SIDE;
  }

  for (var i = 0u; i < 4u; i++) {
    if (r4[i] < rows) {
      let row = row_at[ty * 4u + i];
      for (var strip = 0u; strip < STRIPS; strip++) {
        let of_row = p.scale * sums[strip][i];
        for (var n = 0u; n < 4u; n++) {
          if (inside(strip, 4u * tx + n)) { dq[row + strip * SIDE + 4u * tx + n] = of_row[n]; }
        }
      }
    }
  }
}
