//!use shared/soft_cap.wgsl
//!use attention/tile.wgsl
// dk and dv on GPUs: a workgroup owns 32 keys of one kv head and walks over the rows that see them (query t of
// its n-th head is row t · heads + n), 32 at a time.
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
@group(0) @binding(7) var<storage, read_write> dk: array<f32>;
@group(0) @binding(8) var<storage, read_write> dv: array<f32>;

var<workgroup> entries: array<u32, SIDE>; // of the rows in lse; a row of q begins at E times as much

/// Rows of q or dy as the right side: their depth is the rows.
fn stage_rows(lane: u32, strip: u32, of_q: bool) {
  for (var u = lane; u < SIDE * 8u; u += THREADS) {
    let n = u % 8u;
    let at = entries[u / 8u] * p.E + strip * SIDE + 4u * n;
    var b = vec4f();
    for (var i = 0u; i < 4u; i++) {
      if (inside(strip, 4u * n + i)) {
        if (of_q) { b[i] = q[at + i]; } else { b[i] = dy[at + i]; }
      }
    }
    right[u / 8u * PITCH + n] = b;
  }
}

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) wid: vec3u, @builtin(num_workgroups) nwg: vec3u,
        @builtin(local_invocation_index) lane: u32) {
  let group = wid.y * nwg.x + wid.x;
  let g = group % p.G;
  let first = group / p.G * SIDE; // of the workgroup's keys
  if (first >= p.S) { return; }
  let kv = g * p.E;
  let step = p.G * p.E;
  let ty = lane / 8u;
  let tx = lane % 8u;
  // Keys behind the last one that holds values stand for it and are masked
  let last = min(p.past + p.T, p.S) - 1u;

  // From the first key's own query on; in a window, up to the last query that sees the last key
  let begin = max(first, p.past) - p.past;
  var end = p.T;
  if (p.window > 0u && first >= p.sinks) {
    end = min(end, max(first + SIDE - 1u + p.window, p.past) - p.past);
  }
  if (first + SIDE <= p.frozen) { end = begin; }
  let heads = p.H / p.G;
  let key = first + 4u * tx + vec4u(0u, 1u, 2u, 3u);
  var dks: array<mat4x4f, MOST_STRIPS>;
  var dvs: array<mat4x4f, MOST_STRIPS>;
  for (var r = begin * heads; r < end * heads; r += SIDE) {
    if (lane < SIDE) {
      let row = min(r + lane, p.T * heads - 1u);
      entries[lane] = row / heads * p.H + g * heads + row % heads;
    }
    var s = mat4x4f(); // rows 4 · ty + …, keys 4 · tx + …
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
          let rows4 = vec4u(entries[4u * n], entries[4u * n + 1u], entries[4u * n + 2u], entries[4u * n + 3u]) * p.E + e;
          let keys4 = min(first + 4u * n + vec4u(0u, 1u, 2u, 3u), vec4u(last)) * step + kv + e;
          if (scores) {
            a = vec4f(q[rows4.x], q[rows4.y], q[rows4.z], q[rows4.w]);
            b = p.scale * vec4f(k[keys4.x], k[keys4.y], k[keys4.z], k[keys4.w]);
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

    for (var i = 0u; i < 4u; i++) {
      let row = r + 4u * ty + i;
      let position = p.past + row / heads;
      var see = (key <= vec4u(position)) & vec4<bool>(row < end * heads);
      if (p.window > 0u) { see = see & ((key + p.window > vec4u(position)) | (key < vec4u(p.sinks))); }
      var x = s[i];
      var slope = vec4f(1.0);
      if (p.softcap > 0.0) {
        x = soft_cap4(x, p.softcap);
        slope = soft_cap_slope4(x, p.softcap);
      }
      let entry = entries[4u * ty + i];
      x = select(vec4f(), exp(x - lse[entry]), see);
      s[i] = x;
      dp[i] = select(vec4f(), x * (dp[i] - delta[entry]) * slope, see);
    }
    weigh_rows(s, ty, tx);
    for (var strip = 0u; strip < STRIPS; strip++) {
      workgroupBarrier();
      stage_rows(lane, strip, false);
      workgroupBarrier();
      dvs[strip] = add_products(dvs[strip], WEIGHTS, ty, tx);
    }
    workgroupBarrier(); // the weights of dv have been read
    weigh_rows(dp, ty, tx);
    for (var strip = 0u; strip < STRIPS; strip++) {
      workgroupBarrier();
      stage_rows(lane, strip, true);
      workgroupBarrier();
      dks[strip] = add_products(dks[strip], WEIGHTS, ty, tx);
    }
  }

  // The sums are of keys 4 · ty + …, columns 4 · tx + …
  for (var i = 0u; i < 4u; i++) {
    let own = first + 4u * ty + i;
    if (own < p.S) {
      let row = own * step + kv;
      let learns = own >= p.frozen;
      for (var strip = 0u; strip < STRIPS; strip++) {
        for (var n = 0u; n < 4u; n++) {
          let e = strip * SIDE + 4u * tx + n;
          if (e < p.E) {
            dk[row + e] = select(0.0, p.scale * dks[strip][i][n], learns);
            dv[row + e] = select(0.0, dvs[strip][i][n], learns);
          }
        }
      }
    }
  }
}
