enable subgroups;
// c (+)= alpha · a · wᵀ for up to 4 rows of a (decoding), for llvmpipe and its like (subgroups of 8; see
// tile_subgroup8.wgsl for why). One lane per output column goes through its row of w a block of 32 at a
// time; the lanes load a's 32 values together, 4 each, and broadcast them. K is a multiple of 32.
/// Bound are `cols` rows of w, and c from the first of their columns on.
struct Params { M: u32, K: u32, N: u32, alpha: f32, cols: u32 }
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> a: array<f32>;
@group(0) @binding(2) var<storage, read> w: array<u32>;
@group(0) @binding(3) var<storage, read_write> c: array<f32>;

override ACCUMULATE: bool = false;
/// Rows of a: 1, or up to 4.
override ROWS: u32 = 1;

/// Lanes 0 to 3, and 4 to 7, in all lanes.
fn low(x: f32) -> vec4f {
  return vec4f(
    subgroupBroadcast(x, 0u), subgroupBroadcast(x, 1u),
    subgroupBroadcast(x, 2u), subgroupBroadcast(x, 3u),
  );
}
fn high(x: f32) -> vec4f {
  return vec4f(
    subgroupBroadcast(x, 4u), subgroupBroadcast(x, 5u),
    subgroupBroadcast(x, 6u), subgroupBroadcast(x, 7u),
  );
}

fn put(m: u32, n: u32, value: f32) {
  if (m >= p.M || n >= p.cols) { return; }
  let at = m * p.N + n;
  if (ACCUMULATE) { c[at] += p.alpha * value; } else { c[at] = p.alpha * value; }
}

@compute @workgroup_size(8)
fn main(@builtin(workgroup_id) wid: vec3u, @builtin(num_workgroups) nwg: vec3u,
        @builtin(subgroup_invocation_id) lane: u32) {
  let n = (wid.y * nwg.x + wid.x) * 8u + lane;
  let blocks = p.K / 32u;
  let first = min(n, p.cols - 1u) * blocks; // columns past the end compute the last one and do not store
  let row1 = min(1u, p.M - 1u) * p.K;
  let row2 = min(2u, p.M - 1u) * p.K;
  let row3 = min(3u, p.M - 1u) * p.K;
  var s0 = vec4f();
  var s1 = vec4f();
  var s2 = vec4f();
  var s3 = vec4f();
  for (var block = 0u; block < blocks; block++) {
    let w0 = block4(first + block, 0u);
    let w1 = block4(first + block, 4u);
    let w2 = block4(first + block, 8u);
    let w3 = block4(first + block, 12u);
    let w4 = block4(first + block, 16u);
    let w5 = block4(first + block, 20u);
    let w6 = block4(first + block, 24u);
    let w7 = block4(first + block, 28u);
    let at0 = block * 32u + lane;
    let x00 = a[at0 + 0u];
    let x01 = a[at0 + 8u];
    let x02 = a[at0 + 16u];
    let x03 = a[at0 + 24u];
    s0 += w0 * low(x00) + w1 * high(x00);
    s0 += w2 * low(x01) + w3 * high(x01);
    s0 += w4 * low(x02) + w5 * high(x02);
    s0 += w6 * low(x03) + w7 * high(x03);
    if (ROWS > 1u) {
      let at1 = row1 + block * 32u + lane;
      let x10 = a[at1 + 0u];
      let x11 = a[at1 + 8u];
      let x12 = a[at1 + 16u];
      let x13 = a[at1 + 24u];
      s1 += w0 * low(x10) + w1 * high(x10);
      s1 += w2 * low(x11) + w3 * high(x11);
      s1 += w4 * low(x12) + w5 * high(x12);
      s1 += w6 * low(x13) + w7 * high(x13);
      let at2 = row2 + block * 32u + lane;
      let x20 = a[at2 + 0u];
      let x21 = a[at2 + 8u];
      let x22 = a[at2 + 16u];
      let x23 = a[at2 + 24u];
      s2 += w0 * low(x20) + w1 * high(x20);
      s2 += w2 * low(x21) + w3 * high(x21);
      s2 += w4 * low(x22) + w5 * high(x22);
      s2 += w6 * low(x23) + w7 * high(x23);
      let at3 = row3 + block * 32u + lane;
      let x30 = a[at3 + 0u];
      let x31 = a[at3 + 8u];
      let x32 = a[at3 + 16u];
      let x33 = a[at3 + 24u];
      s3 += w0 * low(x30) + w1 * high(x30);
      s3 += w2 * low(x31) + w3 * high(x31);
      s3 += w4 * low(x32) + w5 * high(x32);
      s3 += w6 * low(x33) + w7 * high(x33);
    }
  }
  let one = vec4f(1.0);
  put(0u, n, dot(s0, one));
  if (ROWS > 1u) {
    put(1u, n, dot(s1, one));
    put(2u, n, dot(s2, one));
    put(3u, n, dot(s3, one));
  }
}
