//!use shared/special.wgsl
// Rotary embedding of queries and keys, one pair (i, i + E/2) of a head a thread; a key's thread moves the value's pair as well.
// A position outside the table gives NaN.
struct Params { T: u32, H: u32, E: u32, G: u32, P: u32, S: u32, at: u32 }
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> q: array<f32>;
@group(0) @binding(2) var<storage, read> k: array<f32>;
@group(0) @binding(3) var<storage, read> v: array<f32>;
@group(0) @binding(4) var<storage, read> positions: array<i32>;
@group(0) @binding(5) var<storage, read> table: array<f32>;
@group(0) @binding(6) var<storage, read_write> keys: array<f32>;
@group(0) @binding(7) var<storage, read_write> values: array<f32>;
@group(0) @binding(8) var<storage, read_write> y: array<f32>;

override GROUP: u32 = 64;

@compute @workgroup_size(GROUP)
fn main(@builtin(workgroup_id) wid: vec3u, @builtin(num_workgroups) nwg: vec3u,
        @builtin(local_invocation_index) lane: u32) {
  let n = (wid.y * nwg.x + wid.x) * GROUP + lane;
  let half = p.E / 2u;
  let heads = p.H + p.G;
  if (n >= p.T * heads * half) { return; }
  let i = n % half;
  let row = n / half;
  let t = row / heads;
  let h = row % heads;
  let position = bitcast<u32>(positions[t]); // below 0, it is far above P
  var c = nan(p.P);
  var s = c;
  if (position < p.P) {
    c = table[position * p.E + i];
    s = table[position * p.E + half + i];
  }
  if (h < p.H) {
    let a = (t * p.H + h) * p.E + i;
    let b = a + half;
    y[a] = q[a] * c - q[b] * s;
    y[b] = q[b] * c + q[a] * s;
    return;
  }
  let a = (t * p.G + h - p.H) * p.E + i;
  let b = a + half;
  let to = p.at * p.G * p.E;
  keys[to + a] = k[a] * c - k[b] * s;
  keys[to + b] = k[b] * c + k[a] * s;
  values[to + a] = v[a];
  values[to + b] = v[b];
}
