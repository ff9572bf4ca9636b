//!use shared/special.wgsl
// Rotary embedding of queries and keys, one pair (i, i + R/2) of a head a thread, or two neighbours behind the first R, which do not
// turn; a key's thread moves the value's pair as well.
// A position outside the table gives NaN.
struct Params { T: u32, H: u32, E: u32, G: u32, P: u32, R: u32, S: u32, at: u32 }
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
  let pairs = p.E / 2u;
  let heads = p.H + p.G;
  if (n >= p.T * heads * pairs) { return; }
  let i = n % pairs;
  let row = n / pairs;
  let t = row / heads;
  let h = row % heads;
  let position = bitcast<u32>(positions[t]); // below 0, it is far above P
  let half = p.R / 2u;
  let turns = i < half;
  let first = select(2u * i, i, turns);
  let step = select(1u, half, turns);
  var c = nan(p.P);
  var s = c;
  if (position < p.P && turns) {
    c = table[position * p.R + i];
    s = table[position * p.R + half + i];
  }
  let stays = position < p.P && !turns;
  if (h < p.H) {
    let a = (t * p.H + h) * p.E + first;
    let b = a + step;
    y[a] = select(q[a] * c - q[b] * s, q[a], stays);
    y[b] = select(q[b] * c + q[a] * s, q[b], stays);
    return;
  }
  let a = (t * p.G + h - p.H) * p.E + first;
  let b = a + step;
  let to = p.at * p.G * p.E;
  keys[to + a] = select(k[a] * c - k[b] * s, k[a], stays);
  keys[to + b] = select(k[b] * c + k[a] * s, k[b], stays);
  values[to + a] = v[a];
  values[to + b] = v[b];
}
