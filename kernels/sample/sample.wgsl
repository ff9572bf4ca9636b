//!use shared/reduce.wgsl
// A token drawn from the softmax of the logits, in one workgroup. Top-k, top-p and min-p each keep the weights above a
// floor, and of those equal to it the first few. The floor is found by halving an interval of the bits of a weight, which
// have the order of the weights; no sort, no list of candidates, and the sums have the same order in every step.
struct Params { V: u32, temperature: f32, top_k: u32, top_p: f32, min_p: f32, u: f32 }
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> logits: array<f32>;
@group(0) @binding(2) var<storage, read_write> index: array<i32>;
@group(0) @binding(3) var<storage, read_write> weights: array<f32>; // e^((logit − max) / temperature), from 0 to 1

override WG: u32 = 256;

struct Cut { floor: f32, ties: f32 } // keeps the weights above `floor` and the first `ties` of those equal to it

var<workgroup> parts: array<f32, WG>;

// The sum of the values of the lanes before this one, and of all, in the order of the lanes.
fn prefix(value: f32, lane: u32) -> vec2f {
  workgroupBarrier();
  parts[lane] = value;
  workgroupBarrier();
  var before = 0.0;
  var all = 0.0;
  for (var l = 0u; l < WG; l++) {
    if (l == lane) { before = all; }
    all += parts[l];
  }
  return vec2f(before, all);
}

// The sum of the weights above `floor`, or their number.
fn above(floor: f32, counting: bool, lane: u32) -> f32 {
  var sum = 0.0;
  for (var i = lane; i < p.V; i += WG) {
    let w = weights[i];
    if (w > floor) { sum += select(w, 1.0, counting); }
  }
  return block_sum(sum, lane);
}

// The fewest weights, from the largest down but one at least, whose sum (or number) reaches `goal`; no more than `outer` keeps.
fn cut(outer: Cut, goal: f32, counting: bool, lane: u32) -> Cut {
  var low = bitcast<u32>(outer.floor);
  var high = bitcast<u32>(1.0); // the largest weight: nothing is above it
  for (var step = 0u; step < 30u; step++) { // 1.0 is less than 2³⁰
    let middle = (low + high) / 2u;
    if (above(bitcast<f32>(middle), counting, lane) < goal) { high = middle; } else { low = middle + 1u; }
  }
  let floor = bitcast<f32>(high);
  let wanted = goal - above(floor, counting, lane);
  var ties = max(1.0, ceil(select(wanted / floor, wanted, counting || floor == 0.0)));
  if (floor == outer.floor) { ties = min(ties, outer.ties); }
  return Cut(floor, select(ties, outer.ties, floor == 0.0)); // where that is 0, no weight is left out
}

@compute @workgroup_size(WG)
fn main(@builtin(local_invocation_index) lane: u32) {
  // NaN and the infinities by their bits, for a compiler may take it that no number is one of them.
  var largest = -0x1.fffffep+127;
  var state = 0.0; // 1: something is finite, 2: something is NaN or +∞
  for (var i = lane; i < p.V; i += WG) {
    let bits = bitcast<u32>(logits[i]);
    if ((bits & 0x7f800000u) != 0x7f800000u) {
      largest = max(largest, logits[i]);
      state = max(state, 1.0);
    } else if (bits != 0xff800000u) {
      state = 2.0;
    }
  }
  let top = block_max(largest, lane);
  let sound = block_max(state, lane) == 1.0;
  for (var i = lane; i < p.V; i += WG) {
    let finite = (bitcast<u32>(logits[i]) & 0x7f800000u) != 0x7f800000u;
    let x = (select(top, logits[i], finite) - top) / p.temperature;
    weights[i] = select(0.0, exp(x), finite && x > -87.0); // none is subnormal
  }

  var kept = Cut(0.0, f32(p.V));
  if (p.top_k > 0u && p.top_k < p.V) { kept = cut(kept, f32(p.top_k), true, lane); }
  if (p.top_p < 1.0) {
    let total = above(kept.floor, false, lane) + kept.ties * kept.floor;
    kept = cut(kept, p.top_p * total, false, lane);
  }
  let least = min(p.min_p, 1.0);
  if (kept.floor < least) { kept = Cut(bitcast<f32>(bitcast<u32>(least) - 1u), 0.0); } // the number before: keeps `least`

  // In the order of the indices: each lane has a run of them.
  storageBarrier();
  let run = (p.V + WG - 1u) / WG;
  let from_ = min(lane * run, p.V);
  let to = min(from_ + run, p.V);
  var equal = 0.0;
  for (var i = from_; i < to; i++) { equal += select(0.0, 1.0, weights[i] == kept.floor); }
  let ties = kept.ties - prefix(equal, lane).x; // of this run and those after it
  var sum = 0.0;
  equal = 0.0;
  for (var i = from_; i < to; i++) {
    let w = weights[i];
    if (w == kept.floor) { equal += 1.0; }
    if (w > kept.floor || (w == kept.floor && equal <= ties)) { sum += w; }
  }
  let sums = prefix(sum, lane);
  let goal = min(p.u * sums.y, bitcast<f32>(bitcast<u32>(sums.y) - 1u)); // below the sum, also when rounded
  if (sound && sums.x <= goal && goal < sums.x + sum) { // one lane alone
    let rest = goal - sums.x;
    var found = 0u;
    sum = 0.0;
    equal = 0.0;
    for (var i = from_; i < to && sum <= rest; i++) {
      let w = weights[i];
      if (w == kept.floor) { equal += 1.0; }
      if (w > 0.0 && (w > kept.floor || (w == kept.floor && equal <= ties))) {
        sum += w;
        found = i;
      }
    }
    index[0] = i32(found);
  }
  if (!sound && lane == 0u) { index[0] = -1; }
}
