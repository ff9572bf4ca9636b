// c (+)= alpha · a · wᵀ for up to 4 rows of a (decoding), reading the weight in its storage format. For
// adapters that compute on the CPU: one lane per output column, no barriers; a's loads are uniform.
/// Bound are `cols` rows of w, and c from the first of their columns on.
struct Params { M: u32, K: u32, N: u32, alpha: f32, cols: u32 }
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> a: array<f32>;
@group(0) @binding(2) var<storage, read> w: array<u32>;
@group(0) @binding(3) var<storage, read_write> c: array<f32>;

override ACCUMULATE: bool = false;
/// Rows of a: 1, or up to 4.
override ROWS: u32 = 1;
/// K is a multiple of 4.
override ALIGNED: bool = true;

fn a4(at: u32) -> vec4f { return vec4f(a[at], a[at + 1u], a[at + 2u], a[at + 3u]); }

fn put(m: u32, n: u32, value: f32) {
  if (m >= p.M) { return; }
  let at = m * p.N + n;
  if (ACCUMULATE) { c[at] += p.alpha * value; } else { c[at] = p.alpha * value; }
}

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) wid: vec3u, @builtin(num_workgroups) nwg: vec3u,
        @builtin(local_invocation_index) lane: u32) {
  let n = (wid.y * nwg.x + wid.x) * 64u + lane;
  if (n >= p.cols) { return; }
  let start = n * p.K;
  let row1 = min(1u, p.M - 1u) * p.K;
  let row2 = min(2u, p.M - 1u) * p.K;
  let row3 = min(3u, p.M - 1u) * p.K;
  var sum = vec4f();
  if (ALIGNED) {
    var s0 = vec4f();
    var s1 = vec4f();
    var s2 = vec4f();
    var s3 = vec4f();
    for (var k = 0u; k < p.K; k += 4u) {
      let x = w4(start + k);
      s0 = fma(x, a4(k), s0);
      if (ROWS > 1u) {
        s1 = fma(x, a4(row1 + k), s1);
        s2 = fma(x, a4(row2 + k), s2);
        s3 = fma(x, a4(row3 + k), s3);
      }
    }
    let one = vec4f(1.0);
    sum = vec4f(dot(s0, one), dot(s1, one), dot(s2, one), dot(s3, one));
  } else {
    for (var k = 0u; k < p.K; k++) {
      sum = fma(vec4f(w1(start + k)), vec4f(a[k], a[row1 + k], a[row2 + k], a[row3 + k]), sum);
    }
  }
  put(0u, n, sum.x);
  if (ROWS > 1u) {
    put(1u, n, sum.y);
    put(2u, n, sum.z);
    put(3u, n, sum.w);
  }
}
