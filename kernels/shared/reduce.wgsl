// Reductions over one workgroup of WG lanes (a power of two; the kernel declares `override WG: u32`).
// Every lane calls them, in uniform control flow, and every lane gets the result. The order of the additions is
// fixed, so a result depends on WG alone.
var<workgroup> reduce_f: array<f32, WG>;
var<workgroup> reduce_u: array<u32, WG>;

fn block_sum(value: f32, lane: u32) -> f32 {
  workgroupBarrier(); // lanes may still be reading the last result
  reduce_f[lane] = value;
  workgroupBarrier();
  for (var s = WG / 2u; s > 0u; s >>= 1u) {
    if (lane < s) { reduce_f[lane] += reduce_f[lane + s]; }
    workgroupBarrier();
  }
  return reduce_f[0];
}

fn block_max(value: f32, lane: u32) -> f32 {
  workgroupBarrier();
  reduce_f[lane] = value;
  workgroupBarrier();
  for (var s = WG / 2u; s > 0u; s >>= 1u) {
    if (lane < s) { reduce_f[lane] = max(reduce_f[lane], reduce_f[lane + s]); }
    workgroupBarrier();
  }
  return reduce_f[0];
}

fn block_min(value: u32, lane: u32) -> u32 {
  workgroupBarrier();
  reduce_u[lane] = value;
  workgroupBarrier();
  for (var s = WG / 2u; s > 0u; s >>= 1u) {
    if (lane < s) { reduce_u[lane] = min(reduce_u[lane], reduce_u[lane + s]); }
    workgroupBarrier();
  }
  return reduce_u[0];
}
