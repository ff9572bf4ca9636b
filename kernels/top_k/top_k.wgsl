//!use shared/special.wgsl
// The K ≤ 256 largest values in order, in one workgroup: a radix select finds the K-th, a bitonic sort orders them.
// An element's rank is the pair (key of its value, complement of its index): no two are equal, so the result does not
// depend on the order in which lanes come.
struct Params { V: u32, K: u32 }
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> logits: array<f32>;
@group(0) @binding(2) var<storage, read_write> values: array<f32>;
@group(0) @binding(3) var<storage, read_write> indices: array<i32>;

const LOWEST = 0x007fffffu; // the key of −∞
const WG = 256u; // one lane per digit, and per entry of the sort

var<workgroup> histogram: array<atomic<u32>, WG>;
var<workgroup> count: atomic<u32>;
var<workgroup> broken: atomic<u32>; // a logit is NaN or +∞; workgroup memory begins as 0
var<workgroup> found: vec3u; // digit, how many are still wanted among those with it, how many have it
var<workgroup> list: array<vec2u, WG>;

// Unsigned integers in the order of the values; −0 counts as +0.
fn key_of(value: f32) -> u32 {
  let bits = select(bitcast<u32>(value), 0u, value == 0.0);
  return select(bits | 0x80000000u, ~bits, bits >= 0x80000000u);
}
fn rank_of(i: u32) -> vec2u { return vec2u(key_of(logits[i]), ~i); }
fn less(a: vec2u, b: vec2u) -> bool { return a.x < b.x || (a.x == b.x && a.y < b.y); }

@compute @workgroup_size(WG)
fn main(@builtin(local_invocation_index) lane: u32) {
  // Digits of 8 bits, from the top: keep the prefix that the K-th largest has, and how many are wanted within it.
  var prefix = vec2u(0u);
  var mask = vec2u(0u);
  var wanted = p.K;
  for (var digit = 0u; digit < 8u; digit++) {
    let word = digit / 4u; // the key's four digits, then the index's
    let shift = 24u - 8u * (digit % 4u);
    atomicStore(&histogram[lane], 0u);
    workgroupBarrier();
    for (var i = lane; i < p.V; i += WG) {
      if (digit == 0u && (is_nan(logits[i]) || is_top(logits[i]))) { atomicStore(&broken, 1u); }
      let rank = rank_of(i);
      if (all((rank & mask) == prefix)) { atomicAdd(&histogram[(rank[word] >> shift) & 255u], 1u); }
    }
    workgroupBarrier();
    var above = 0u;
    for (var d = 255u; d > lane; d--) { above += atomicLoad(&histogram[d]); }
    let own = atomicLoad(&histogram[lane]);
    if (above < wanted && above + own >= wanted) { found = vec3u(lane, wanted - above, own); } // one lane alone
    let hit = workgroupUniformLoad(&found);
    prefix[word] |= hit.x << shift;
    mask[word] |= 255u << shift;
    wanted = hit.y;
    if (hit.y == hit.z) { break; } // all that have the prefix are wanted
  }

  if (lane == 0u) { atomicStore(&count, 0u); }
  list[lane] = vec2u(0u);
  workgroupBarrier();
  for (var i = lane; i < p.V; i += WG) {
    let rank = rank_of(i);
    if (!less(rank & mask, prefix)) { list[atomicAdd(&count, 1u)] = rank; }
  }
  workgroupBarrier();

  for (var size = 2u; size <= WG; size <<= 1u) {
    for (var stride = size >> 1u; stride > 0u; stride >>= 1u) {
      let other = lane ^ stride;
      if (other > lane) {
        let descending = (lane & size) == 0u;
        let a = list[lane];
        let b = list[other];
        if (less(a, b) == descending) {
          list[lane] = b;
          list[other] = a;
        }
      }
      workgroupBarrier();
    }
  }
  if (lane < p.K) {
    let i = ~list[lane].y;
    let sound = atomicLoad(&broken) == 0u && list[0].x != LOWEST;
    values[lane] = select(nan(p.V), logits[i], sound);
    indices[lane] = select(-1, i32(i), sound);
  }
}
