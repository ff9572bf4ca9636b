// Rotary embedding, one pair (i, i + E) a thread.
struct Params { T: u32, H: u32, D: u32, P: u32, E: u32, start: u32, sign: f32 }
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> cos: array<f32>;
@group(0) @binding(3) var<storage, read> sin: array<f32>;
@group(0) @binding(4) var<storage, read_write> y: array<f32>;

override GROUP: u32 = 64;

@compute @workgroup_size(GROUP)
fn main(@builtin(workgroup_id) wid: vec3u, @builtin(num_workgroups) nwg: vec3u,
        @builtin(local_invocation_index) lane: u32) {
  let n = (wid.y * nwg.x + wid.x) * GROUP + lane;
  if (n >= p.T * p.H * p.E) { return; }
  let row = n / p.E; // t · H + h
  let i = n % p.E;
  let angle = (p.start + row / p.H) * p.E + i;
  let c = cos[angle];
  let s = p.sign * sin[angle];
  let a = row * p.D + i;
  let b = a + p.E;
  y[a] = x[a] * c - x[b] * s;
  y[b] = x[b] * c + x[a] * s;
}
