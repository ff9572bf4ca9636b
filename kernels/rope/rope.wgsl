//!use shared/special.wgsl
// Rotary embedding, one pair (i, i + R/2) a thread, or two neighbours behind the first R of a head, which do not turn; a position
// outside the table gives NaN.
struct Params { T: u32, H: u32, E: u32, P: u32, R: u32, sign: f32 }
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> positions: array<i32>;
@group(0) @binding(3) var<storage, read> table: array<f32>;
@group(0) @binding(4) var<storage, read_write> y: array<f32>;

override GROUP: u32 = 64;

@compute @workgroup_size(GROUP)
fn main(@builtin(workgroup_id) wid: vec3u, @builtin(num_workgroups) nwg: vec3u,
        @builtin(local_invocation_index) lane: u32) {
  let n = (wid.y * nwg.x + wid.x) * GROUP + lane;
  let pairs = p.E / 2u;
  if (n >= p.T * p.H * pairs) { return; }
  let row = n / pairs; // t · H + h
  let i = n % pairs;
  let half = p.R / 2u;
  let a = row * p.E + select(2u * i, i, i < half);
  let b = a + select(1u, half, i < half);
  let position = bitcast<u32>(positions[row / p.H]); // below 0, it is far above P
  if (position >= p.P) {
    y[a] = nan(p.P);
    y[b] = nan(p.P);
    return;
  }
  if (i >= half) {
    y[a] = x[a];
    y[b] = x[b];
    return;
  }
  let c = table[position * p.R + i];
  let s = p.sign * table[position * p.R + half + i];
  y[a] = x[a] * c - x[b] * s;
  y[b] = x[b] * c + x[a] * s;
}
