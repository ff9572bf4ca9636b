/**
 * The K largest values in order, on the CPU: one unit. The outputs hold a heap whose root is the least of the K best so
 * far; four values at a time are compared with it, and hardly any passes. At the end the heap is sorted in place.
 */

/** Is entry (value, index) behind entry (other, otherIndex): smaller, or equal and further on? */
// @ts-ignore: decorator
@inline
function behind(value: f32, index: i32, other: f32, otherIndex: i32): bool {
  return value < other || (value == other && index > otherIndex);
}

/** Puts (value, index) at the root of a heap of `size` entries and lets it sink. */
function sink(values: usize, indices: usize, size: i32, from: i32, value: f32, index: i32): void {
  let hole = from;
  while (true) {
    let child = 2 * hole + 1;
    if (child >= size) break;
    let at = <usize>child << 2;
    if (child + 1 < size && behind(
      load<f32>(values + at, 4), load<i32>(indices + at, 4), load<f32>(values + at), load<i32>(indices + at),
    )) {
      child++;
      at += 4;
    }
    if (!behind(load<f32>(values + at), load<i32>(indices + at), value, index)) break;
    store<f32>(values + (<usize>hole << 2), load<f32>(values + at));
    store<i32>(indices + (<usize>hole << 2), load<i32>(indices + at));
    hole = child;
  }
  store<f32>(values + (<usize>hole << 2), value);
  store<i32>(indices + (<usize>hole << 2), index);
}

/** What is answered where a logit is NaN or +∞, or all are −∞. */
function refuse(values: usize, indices: usize, K: i32): void {
  for (let k: usize = 0; k < <usize>K; k++) {
    store<f32>(values + (k << 2), NaN);
    store<i32>(indices + (k << 2), -1);
  }
}

export function top_k(
  logits: usize, values: usize, indices: usize,
  V: i32, K: i32,
  begin: i32, end: i32, scratch: usize,
): void {
  if (begin >= end) return;
  for (let k = K - 1; k >= 0; k--) {
    const value = load<f32>(logits + (<usize>k << 2));
    if (!(value < Infinity)) return refuse(values, indices, K); // a NaN is not either
    sink(values, indices, K, k, value, k);
  }

  let least = load<f32>(values);
  let least4 = f32x4.splat(least);
  let v = K;
  while (v < V) {
    if (v + 4 <= V && i32x4.all_true(f32x4.le(v128.load(logits + (<usize>v << 2)), least4))) {
      v += 4;
      continue;
    }
    const stop = min(v + 4, V);
    for (; v < stop; v++) {
      const value = load<f32>(logits + (<usize>v << 2));
      if (!(value < Infinity)) return refuse(values, indices, K);
      if (value > least) { // an equal one stands further on, hence behind
        sink(values, indices, K, 0, value, v);
        least = load<f32>(values);
        least4 = f32x4.splat(least);
      }
    }
  }
  for (let size = K - 1; size > 0; size--) {
    const at = <usize>size << 2;
    const value = load<f32>(values + at);
    const index = load<i32>(indices + at);
    store<f32>(values + at, load<f32>(values));
    store<i32>(indices + at, load<i32>(indices));
    sink(values, indices, size, 0, value, index);
  }
  if (load<f32>(values) == -Infinity) refuse(values, indices, K);
}
