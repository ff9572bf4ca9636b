//!use shared/soft_cap.wgsl
// Attention of few queries over many keys (decoding): a workgroup per query and head. Its threads take TILE
// keys in turn, one score each at a time, then share the columns of v: thread i owns sums i, i + GROUP, …,
// where sum i is of column i mod E over every PARTS-th key. Online softmax from tile to tile.
struct Params {
  T: u32, H: u32, E: u32, S: u32, G: u32, past: u32, window: u32, sinks: u32, scale: f32, softcap: f32,
}
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> q: array<f32>;
@group(0) @binding(2) var<storage, read> k: array<f32>;
@group(0) @binding(3) var<storage, read> v: array<f32>;
@group(0) @binding(4) var<storage, read_write> y: array<f32>;
@group(0) @binding(5) var<storage, read_write> lse: array<f32>;

override GROUP: u32 = 64;
override TILE: u32 = 256;
/// The head size E, and how many threads share a column.
override SIZE: u32 = 64;
override PARTS: u32 = 1;
const LOWEST = -1.0e30;

var<workgroup> query: array<f32, SIZE>;
var<workgroup> weights: array<f32, TILE>;
var<workgroup> sums: array<f32, SIZE * PARTS>;
var<workgroup> partial: array<f32, GROUP>;

// Between two uses of `partial` main has a barrier.
fn top_of_all(lane: u32, value: f32) -> f32 {
  partial[lane] = value;
  workgroupBarrier();
  for (var s = GROUP / 2u; s > 0u; s >>= 1u) {
    if (lane < s) { partial[lane] = max(partial[lane], partial[lane + s]); }
    workgroupBarrier();
  }
  return partial[0];
}

fn sum_of_all(lane: u32, value: f32) -> f32 {
  partial[lane] = value;
  workgroupBarrier();
  for (var s = GROUP / 2u; s > 0u; s >>= 1u) {
    if (lane < s) { partial[lane] += partial[lane + s]; }
    workgroupBarrier();
  }
  return partial[0];
}

@compute @workgroup_size(GROUP)
fn main(@builtin(workgroup_id) wid: vec3u, @builtin(num_workgroups) nwg: vec3u,
        @builtin(local_invocation_index) lane: u32) {
  let row = wid.y * nwg.x + wid.x; // t · H + h
  if (row >= p.T * p.H) { return; } // uniform: depends on workgroup_id alone
  let kv = row % p.H / (p.H / p.G) * SIZE;
  let step = p.G * SIZE;
  let position = min(p.past + row / p.H, p.S - 1u); // of the last key it sees
  for (var d = lane; d < SIZE; d += GROUP) { query[d] = p.scale * q[row * SIZE + d]; }
  for (var i = lane; i < SIZE * PARTS; i += GROUP) { sums[i] = 0.0; }
  workgroupBarrier();

  // Visible keys: the sinks before the window, then the window
  var begin = 0u;
  if (p.window > 0u) { begin = max(position + 1u, p.window) - p.window; }
  let front = min(p.sinks, begin);
  let visible = front + position + 1u - begin;

  var m = LOWEST;
  var l = 0.0; // of this thread's keys
  for (var n0 = 0u; n0 < visible; n0 += TILE) {
    let count = min(TILE, visible - n0);
    var top = m;
    for (var n = lane; n < count; n += GROUP) {
      let j = select(begin + n0 + n - front, n0 + n, n0 + n < front);
      let key = j * step + kv;
      var s = 0.0;
      var d = 0u;
      for (; d + 4u <= p.E; d += 4u) {
        let x = vec4f(query[d], query[d + 1u], query[d + 2u], query[d + 3u]);
        s += dot(x, vec4f(k[key + d], k[key + d + 1u], k[key + d + 2u], k[key + d + 3u]));
      }
      for (; d < p.E; d++) { s = fma(query[d], k[key + d], s); }
      if (p.softcap > 0.0) { s = soft_cap(s, p.softcap); }
      weights[n] = s;
      top = max(top, s);
    }
    top = top_of_all(lane, top);
    let f = exp(m - top);
    m = top;
    l *= f;
    for (var n = lane; n < count; n += GROUP) {
      let e = exp(weights[n] - top);
      weights[n] = e;
      l += e;
    }
    workgroupBarrier();
    for (var i = lane; i < SIZE * PARTS; i += GROUP) {
      let column = kv + i % SIZE;
      var sum = f * sums[i];
      for (var n = i / SIZE; n < count; n += PARTS) {
        let j = select(begin + n0 + n - front, n0 + n, n0 + n < front);
        sum = fma(weights[n], v[j * step + column], sum);
      }
      sums[i] = sum;
    }
    workgroupBarrier();
  }

  let total = sum_of_all(lane, l); // its barriers also publish the sums
  for (var d = lane; d < SIZE; d += GROUP) {
    var sum = sums[d];
    for (var i = d + SIZE; i < SIZE * PARTS; i += SIZE) { sum += sums[i]; }
    y[row * SIZE + d] = sum / total;
  }
  if (lane == 0u) { lse[row] = m + log(total); }
}
