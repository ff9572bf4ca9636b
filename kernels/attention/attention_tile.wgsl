//!use shared/soft_cap.wgsl
//!use attention/tile.wgsl
// Attention forward on GPUs: a workgroup owns 32 rows (queries of the heads that share a kv head, numbered
// t · heads + head) and walks over the keys 32 at a time; online softmax from tile to tile. All 8 threads of a
// row know its maximum; each sums its own keys' weights until the end.
struct Params {
  T: u32, H: u32, E: u32, S: u32, G: u32, past: u32, window: u32, sinks: u32, scale: f32, softcap: f32,
}
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> q: array<f32>;
@group(0) @binding(2) var<storage, read> k: array<f32>;
@group(0) @binding(3) var<storage, read> v: array<f32>;
@group(0) @binding(4) var<storage, read_write> y: array<f32>;
@group(0) @binding(5) var<storage, read_write> lse: array<f32>;

var<workgroup> row_at: array<u32, SIDE>; // where each row of q begins
var<workgroup> partial: array<vec4f, THREADS>;
/// Finite stand-ins for −∞: a masked score lies so far below the initial maximum that its exponential is 0.
const MASKED = -3.0e38;
const LOWEST = -1.0e30;

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
  let r0 = (blocks - 1u - group / p.G) * SIDE; // the workgroup's rows begin here; the longest ones first
  let first = p.past + r0 / heads; // position of its first query
  // The last key that a query sees
  let last = min(p.past + (min(r0 + SIDE, rows) - 1u) / heads, p.S - 1u);
  let ty = lane / 8u;
  let tx = lane % 8u;
  let r4 = r0 + ty * 4u + vec4u(0u, 1u, 2u, 3u);
  // Rows behind the last one compute it again and store nothing
  let position = min(p.past + min(r4, vec4u(rows - 1u)) / heads, vec4u(p.S - 1u)); // of the last key that each sees
  if (lane < SIDE) {
    let row = min(r0 + lane, rows - 1u);
    row_at[lane] = (row / heads * p.H + g * heads + row % heads) * p.E;
  }

  var m = vec4f(LOWEST); // of each row
  var l = vec4f(); // of each row, this thread's keys
  var o: array<mat4x4f, MOST_STRIPS>;
  var j = 0u;
  while (j <= last) {
    // Past the sinks, go straight to the first query's window
    if (p.window > 0u && j >= p.sinks && first + 1u > p.window) {
      j = max(j, first + 1u - p.window);
    }
    var s = mat4x4f();
    for (var strip = 0u; strip < STRIPS; strip++) {
      workgroupBarrier(); // what was staged before has been read
      for (var u = lane; u < SIDE * 8u; u += THREADS) {
        let i = u % SIDE;
        let n = u / SIDE;
        var a = vec4f();
        var b = vec4f();
        if (inside(strip, i)) {
          let e = strip * SIDE + i;
          a = p.scale * vec4f(q[row_at[4u * n] + e], q[row_at[4u * n + 1u] + e], q[row_at[4u * n + 2u] + e],
                              q[row_at[4u * n + 3u] + e]);
          let at = min(j + 4u * n + vec4u(0u, 1u, 2u, 3u), vec4u(last)) * step + kv + e;
          b = vec4f(k[at.x], k[at.y], k[at.z], k[at.w]);
        }
        left[i * PITCH + n] = a;
        right[i * PITCH + n] = b;
      }
      workgroupBarrier();
      s = add_products(s, 0u, ty, tx);
    }

    let key = j + 4u * tx + vec4u(0u, 1u, 2u, 3u);
    var top = m;
    for (var i = 0u; i < 4u; i++) {
      var see = key <= vec4u(position[i]);
      if (p.window > 0u) { see = see & ((key + p.window > vec4u(position[i])) | (key < vec4u(p.sinks))); }
      var x = s[i];
      if (p.softcap > 0.0) { x = soft_cap4(x, p.softcap); }
      x = select(vec4f(MASKED), x, see);
      s[i] = x;
      top[i] = max(top[i], max(max(x.x, x.y), max(x.z, x.w)));
    }
    partial[lane] = top;
    workgroupBarrier();
    for (var i = 0u; i < 8u; i++) { top = max(top, partial[ty * 8u + i]); }
    let f = exp(m - top);
    m = top;
    l *= f;
    for (var i = 0u; i < 4u; i++) {
      let x = exp(s[i] - m[i]);
      s[i] = x;
      l[i] += x.x + x.y + x.z + x.w;
    }
    weigh_columns(s, ty, tx);
    for (var strip = 0u; strip < STRIPS; strip++) {
      workgroupBarrier();
      for (var u = lane; u < SIDE * 8u; u += THREADS) {
        let n = u % 8u;
        let at = min(j + u / 8u, last) * step + kv + strip * SIDE + 4u * n;
        var b = vec4f();
        if (inside(strip, 4u * n)) { b.x = v[at]; }
        if (inside(strip, 4u * n + 1u)) { b.y = v[at + 1u]; }
        if (inside(strip, 4u * n + 2u)) { b.z = v[at + 2u]; }
        if (inside(strip, 4u * n + 3u)) { b.w = v[at + 3u]; }
        right[u / 8u * PITCH + n] = b;
      }
      workgroupBarrier();
      let before = o[strip];
      o[strip] = add_products(mat4x4f(f.x * before[0], f.y * before[1], f.z * before[2], f.w * before[3]), WEIGHTS, ty, tx);
    }
    j += SIDE;
  }

  partial[lane] = l;
  workgroupBarrier();
  var total = vec4f();
  for (var i = 0u; i < 8u; i++) { total += partial[ty * 8u + i]; }
  for (var i = 0u; i < 4u; i++) {
    if (r4[i] < rows) {
      let row = row_at[ty * 4u + i];
      if (tx == 0u) { lse[row / p.E] = m[i] + log(total[i]); }
      for (var strip = 0u; strip < STRIPS; strip++) {
        let of_row = o[strip][i] / total[i];
        for (var n = 0u; n < 4u; n++) {
          if (inside(strip, 4u * tx + n)) { y[row + strip * SIDE + 4u * tx + n] = of_row[n]; }
        }
      }
    }
  }
}
