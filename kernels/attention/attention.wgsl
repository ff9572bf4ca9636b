// Attention forward without barriers: a thread owns 4 queries of one head and walks over the keys 8 at a time. All
// addresses into k and v are the same for a whole workgroup, which software adapters load once for all lanes.
// y itself holds the sums that are not yet divided.
struct Params { T: u32, H: u32, D: u32, S: u32, G: u32, past: u32, window: u32, sinks: u32, scale: f32 }
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> q: array<vec4f>;
@group(0) @binding(2) var<storage, read> k: array<vec4f>;
@group(0) @binding(3) var<storage, read> v: array<vec4f>;
@group(0) @binding(4) var<storage, read_write> y: array<vec4f>;
@group(0) @binding(5) var<storage, read_write> lse: array<f32>;

override GROUP: u32 = 8;
const OWN = 4u;
/// Finite stand-ins for −∞: a masked score lies so far below the initial maximum that its exponential is 0.
const MASKED = -3.0e38;
const LOWEST = -1.0e30;

/// Scores of keys j … j + 3, MASKED where the query at `position` does not see them.
fn visible(s: vec4f, j: u32, position: u32) -> vec4f {
  let key = vec4u(j, j + 1u, j + 2u, j + 3u);
  var see = key <= vec4u(position);
  if (p.window > 0u) { see = see & ((key + p.window > vec4u(position)) | (key < vec4u(p.sinks))); }
  return select(vec4f(MASKED), s, see);
}

fn top4(s: vec4f) -> f32 { return max(max(s.x, s.y), max(s.z, s.w)); }

fn dot4(x: vec4f, a: vec4f, b: vec4f, c: vec4f, d: vec4f, s: vec4f) -> vec4f {
  return s + vec4f(dot(x, a), dot(x, b), dot(x, c), dot(x, d));
}
fn mix4(w: vec4f, a: vec4f, b: vec4f, c: vec4f, d: vec4f, s: vec4f) -> vec4f {
  return fma(vec4f(w.w), d, fma(vec4f(w.z), c, fma(vec4f(w.y), b, fma(vec4f(w.x), a, s))));
}

@compute @workgroup_size(GROUP)
fn main(@builtin(workgroup_id) wid: vec3u, @builtin(num_workgroups) nwg: vec3u,
        @builtin(local_invocation_index) lane: u32) {
  let blocks = (p.T + GROUP * OWN - 1u) / (GROUP * OWN);
  let group = wid.y * nwg.x + wid.x;
  if (group >= blocks * p.H) { return; }
  let h = group % p.H;
  let g = h / (p.H / p.G);
  let first = (blocks - 1u - group / p.H) * GROUP * OWN; // of the workgroup's queries
  let last = p.past + min(first + GROUP * OWN, p.T) - 1u; // position of its last one
  let t = first + lane * OWN;
  let D4 = p.D / 4u;

  // Queries behind the last one compute it again and store nothing
  let t4 = min(vec4u(t, t + 1u, t + 2u, t + 3u), vec4u(p.T - 1u));
  let row = (t4 * p.H + h) * D4;
  let live = vec4u(t, t + 1u, t + 2u, t + 3u) < vec4u(p.T);
  let position = p.past + t4;
  var m = vec4f(LOWEST);
  var l = vec4f();

  var j = 0u;
  while (j <= last) {
    // Past the sinks, go straight to the first query's window
    if (p.window > 0u && j >= p.sinks && p.past + first + 1u > p.window) {
      j = max(j, p.past + first + 1u - p.window);
    }
    // Keys behind the last one are masked; it is read in their place
    let a = (min(vec4u(j, j + 1u, j + 2u, j + 3u), vec4u(last)) * p.G + g) * D4;
    let b = (min(vec4u(j + 4u, j + 5u, j + 6u, j + 7u), vec4u(last)) * p.G + g) * D4;
    var s0a = vec4f(); var s1a = vec4f(); var s2a = vec4f(); var s3a = vec4f();
    var s0b = vec4f(); var s1b = vec4f(); var s2b = vec4f(); var s3b = vec4f();
    for (var d = 0u; d < D4; d++) {
      let k0 = k[a.x + d]; let k1 = k[a.y + d]; let k2 = k[a.z + d]; let k3 = k[a.w + d];
      let k4 = k[b.x + d]; let k5 = k[b.y + d]; let k6 = k[b.z + d]; let k7 = k[b.w + d];
      let q0 = q[row.x + d]; let q1 = q[row.y + d]; let q2 = q[row.z + d]; let q3 = q[row.w + d];
      s0a = dot4(q0, k0, k1, k2, k3, s0a); s0b = dot4(q0, k4, k5, k6, k7, s0b);
      s1a = dot4(q1, k0, k1, k2, k3, s1a); s1b = dot4(q1, k4, k5, k6, k7, s1b);
      s2a = dot4(q2, k0, k1, k2, k3, s2a); s2b = dot4(q2, k4, k5, k6, k7, s2b);
      s3a = dot4(q3, k0, k1, k2, k3, s3a); s3b = dot4(q3, k4, k5, k6, k7, s3b);
    }
    s0a *= p.scale; s1a *= p.scale; s2a *= p.scale; s3a *= p.scale;
    s0b *= p.scale; s1b *= p.scale; s2b *= p.scale; s3b *= p.scale;
    s0a = visible(s0a, j, position.x); s0b = visible(s0b, j + 4u, position.x);
    s1a = visible(s1a, j, position.y); s1b = visible(s1b, j + 4u, position.y);
    s2a = visible(s2a, j, position.z); s2b = visible(s2b, j + 4u, position.z);
    s3a = visible(s3a, j, position.w); s3b = visible(s3b, j + 4u, position.w);
    let top = max(m, vec4f(top4(max(s0a, s0b)), top4(max(s1a, s1b)), top4(max(s2a, s2b)), top4(max(s3a, s3b))));
    let f = select(exp(m - top), vec4f(), l == vec4f()); // also drops what y held before
    m = top;
    s0a = exp(s0a - m.x); s0b = exp(s0b - m.x);
    s1a = exp(s1a - m.y); s1b = exp(s1b - m.y);
    s2a = exp(s2a - m.z); s2b = exp(s2b - m.z);
    s3a = exp(s3a - m.w); s3b = exp(s3b - m.w);
    let one = vec4f(1.0);
    let sum = vec4f(dot(s0a + s0b, one), dot(s1a + s1b, one), dot(s2a + s2b, one), dot(s3a + s3b, one));
    let fresh = l == vec4f();
    l = fma(l, f, sum);
    for (var d = 0u; d < D4; d++) {
      let v0 = v[a.x + d]; let v1 = v[a.y + d]; let v2 = v[a.z + d]; let v3 = v[a.w + d];
      let v4 = v[b.x + d]; let v5 = v[b.y + d]; let v6 = v[b.z + d]; let v7 = v[b.w + d];
      var y0 = f.x * select(y[row.x + d], vec4f(), fresh.x);
      var y1 = f.y * select(y[row.y + d], vec4f(), fresh.y);
      var y2 = f.z * select(y[row.z + d], vec4f(), fresh.z);
      var y3 = f.w * select(y[row.w + d], vec4f(), fresh.w);
      y0 = mix4(s0b, v4, v5, v6, v7, mix4(s0a, v0, v1, v2, v3, y0));
      y1 = mix4(s1b, v4, v5, v6, v7, mix4(s1a, v0, v1, v2, v3, y1));
      y2 = mix4(s2b, v4, v5, v6, v7, mix4(s2a, v0, v1, v2, v3, y2));
      y3 = mix4(s3b, v4, v5, v6, v7, mix4(s3a, v0, v1, v2, v3, y3));
      if (live.x) { y[row.x + d] = y0; }
      if (live.y) { y[row.y + d] = y1; }
      if (live.z) { y[row.z + d] = y2; }
      if (live.w) { y[row.w + d] = y3; }
    }
    j += 8u;
  }

  for (var i = 0u; i < OWN; i++) {
    if (live[i]) {
      lse[t4[i] * p.H + h] = m[i] + log(l[i]);
      for (var d = 0u; d < D4; d++) { y[row[i] + d] /= l[i]; }
    }
  }
}
