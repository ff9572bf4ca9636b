// c (+)= alpha · a · wᵀ for up to 4 rows of a (decoding), reading the weight in its storage format. For
// GPUs: a workgroup of 64 gives LANES threads to each of its output columns; they share the depth and add
// up through workgroup memory.
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
/// Threads a column: a power of two.
override LANES: u32 = 16;

var<workgroup> sums: array<vec4f, 64>;

fn a4(at: u32) -> vec4f { return vec4f(a[at], a[at + 1u], a[at + 2u], a[at + 3u]); }

fn put(m: u32, n: u32, value: f32) {
  if (m >= p.M) { return; }
  let at = m * p.N + n;
  if (ACCUMULATE) { c[at] += p.alpha * value; } else { c[at] = p.alpha * value; }
}

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) wid: vec3u, @builtin(num_workgroups) nwg: vec3u,
        @builtin(local_invocation_index) t: u32) {
  let n = (wid.y * nwg.x + wid.x) * (64u / LANES) + t / LANES;
  let lane = t % LANES;
  let start = min(n, p.cols - 1u) * p.K; // columns past the end compute the last one and do not store
  let row1 = min(1u, p.M - 1u) * p.K;
  let row2 = min(2u, p.M - 1u) * p.K;
  let row3 = min(3u, p.M - 1u) * p.K;
  var sum = vec4f(); // by row of a
  if (ALIGNED) {
    for (var k = 4u * lane; k < p.K; k += 4u * LANES) {
      let x = w4(start + k);
      sum.x += dot(x, a4(k));
      if (ROWS > 1u) {
        sum.y += dot(x, a4(row1 + k));
        sum.z += dot(x, a4(row2 + k));
        sum.w += dot(x, a4(row3 + k));
      }
    }
  } else {
    for (var k = lane; k < p.K; k += LANES) {
      sum = fma(vec4f(w1(start + k)), vec4f(a[k], a[row1 + k], a[row2 + k], a[row3 + k]), sum);
    }
  }
  sums[t] = sum;
  workgroupBarrier();
  for (var s = LANES / 2u; s > 0u; s >>= 1u) {
    if (lane < s) { sums[t] += sums[t + s]; }
    workgroupBarrier();
  }
  if (lane == 0u && n < p.cols) {
    let total = sums[t];
    put(0u, n, total.x);
    if (ROWS > 1u) {
      put(1u, n, total.y);
      put(2u, n, total.z);
      put(3u, n, total.w);
    }
  }
}
